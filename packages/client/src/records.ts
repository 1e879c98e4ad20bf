import type { DesignView } from '@millrace/api';
import { fromBase64, hexOf, MillraceError, parse, toHex, utf8, wipe } from '@millrace/base';
import { type PrivatePart, readCore } from '@millrace/vault';
import { z } from 'zod';
import { ownPrivatePart } from './own-design.ts';
import type { Session } from './session.ts';
import { type ClientStorage, readJson } from './storage.ts';

// Facts about designs that the owner knows and the cloud does not. They are kept in the owner's storage, and in the
// private part of each manifest, from which they are restored if the storage is lost.

const recordSchema = z.strictObject({
  version: z.literal(1),
  design: hexOf(16),
  name: z.string(),
  material: z.strictObject({ name: z.string(), grams: z.number() }),
  /** Millimetres: min x, y, z, max x, y, z. */
  box: z.array(z.number()).length(6).optional(),
  /** Seconds. */
  time: z.strictObject({ model: z.number(), slicer: z.number().optional() }),
  sliced: z.strictObject({ slicer: z.string(), profile: z.string(), profileHash: hexOf(32) }).optional(),
});
export type DesignFile = z.output<typeof recordSchema>;

const files = { record: 'design.json', profile: 'profile.ini', thumbnail: 'thumbnail.png' } as const;

const pathOf = (design: string, file: string) => `designs/${design}/${file}`;

/** Stores a design's record and, if it was sliced here, its profile. */
export async function keepRecord(
  { storage }: { readonly storage: ClientStorage },
  design: string,
  part: Omit<PrivatePart, 'designSecret'>,
  profile?: Uint8Array,
): Promise<DesignFile> {
  const record = toRecord(design, part);
  if (profile !== undefined) await storage.replace(pathOf(design, files.profile), profile);
  if (part.thumbnail !== undefined) await storage.replace(pathOf(design, files.thumbnail), part.thumbnail);
  await storage.replace(pathOf(design, files.record), utf8(`${JSON.stringify(record, null, 2)}\n`));
  return record;
}

/** @throws {MillraceError} E_CONFIG if the file is damaged */
export async function readRecord(
  { storage }: { readonly storage: ClientStorage },
  design: string,
): Promise<DesignFile | undefined> {
  const path = pathOf(design, files.record);
  const json = await readJson(storage, path);
  return json === undefined ? undefined : parse(recordSchema, json, path, 'E_CONFIG');
}

function toRecord(
  design: string,
  { name, material, box, time, sliced }: Omit<PrivatePart, 'designSecret'>,
): DesignFile {
  return {
    version: 1,
    design,
    name,
    material: { name: material.name, grams: material.milligrams / 1_000 },
    ...(box === undefined ? {} : { box: box.map((micrometres) => micrometres / 1_000) }),
    time: {
      model: time.model / 1_000,
      ...(time.slicer === undefined ? {} : { slicer: time.slicer / 1_000 }),
    },
    ...(sliced === undefined ? {} : { sliced: { ...sliced, profileHash: toHex(sliced.profileHash) } }),
  };
}

/** The user's designs under the owner's names for them. */
export async function namedDesigns(session: Session): Promise<DesignView[]> {
  const named: DesignView[] = [];
  for (const view of await session.api.designs()) named.push(await withName(session, view));
  return named;
}

/** Codes with which no private part can be opened. */
const useless: readonly string[] = ['E_NOT_FOUND', 'E_SEAL', 'E_SEGMENT', 'E_FORBIDDEN', 'E_KEY_NEEDED'];

/** The design with its owner's name for it, from this computer or from the private part that control keeps. */
export async function withName(session: Session, view: DesignView): Promise<DesignView> {
  const known = await readRecord(session, view.design);
  if (known !== undefined) return { ...view, name: known.name };
  try {
    const core = readCore(fromBase64(view.core));
    if (core.designId !== view.design) return view;
    const part = await ownPrivatePart(session, core);
    wipe(part.designSecret);
    return { ...view, name: (await keepRecord(session, view.design, part)).name };
  } catch (error) {
    // No private part exists, it belongs to another key, or an API token is used: use control's name.
    if (error instanceof MillraceError && useless.includes(error.code)) return view;
    throw error;
  }
}
