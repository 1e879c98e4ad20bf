import { decodeForeignCbor, MillraceError, parse, utf8 } from '@millrace/base';
import { type SpoolDescription, spoolDescription } from '@millrace/protocol';
import { z } from 'zod';

// Content of the tags that manufacturers put on spools. Nobody signs it, so it describes a spool and certifies nothing.

/** OpenSpool 1.0: https://openspool.io. Further fields are allowed. */
const openSpoolSchema = z.looseObject({
  protocol: z.literal('openspool'),
  type: z.string(),
  brand: z.string().optional(),
});

/**
 * Describes a spool by the content of its tag: OpenSpool (JSON) or OpenPrintTag (the tag's memory, its NDEF message, or
 * the payload alone).
 * @throws {MillraceError} E_INPUT if it is neither
 */
export function readSpoolTag(content: Uint8Array): SpoolDescription {
  const described = content[0] === 0x7b ? openSpool(content) : openPrintTag(content);
  return parse(spoolDescription, described, 'tag of the spool');
}

function openSpool(content: Uint8Array) {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(content));
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'tag of the spool: not JSON', { cause });
  }
  const { type, brand } = parse(openSpoolSchema, json, 'OpenSpool');
  return { name: type, ...texts({ brand }) };
}

const MIME_TYPE = utf8('application/vnd.openprinttag');

/** Material types of OpenPrintTag (data/material_type_enum.yaml), by their numbers. */
const materialTypes =
  'PLA PETG TPU ABS ASA PC PCTG PP PA6 PA11 PA12 PA66 CPE TPE HIPS PHA PET PEI PBT PVB PVA PEKK PEEK BVOH TPC PPS PPSU PVC PEBA PVDF PPA PCL PES PMMA POM PPE PS PSU TPI SBS OBC EVA'.split(
    ' ',
  );

/** Fields of the main section (data/main_fields.yaml). */
const FIELDS = {
  class: 8,
  type: 9,
  product: 10,
  brand: 11,
  nominalGrams: 16,
  actualGrams: 17,
  density: 29,
  diameter: 30,
} as const;
const FFF = 0;
const MAIN_REGION_OFFSET = 0;
/** mm, if a filament's tag has no diameter. */
const USUAL_DIAMETER = 1.75;

function openPrintTag(content: Uint8Array) {
  const at = indexOf(content, MIME_TYPE);
  const payload = at < 0 ? content : content.subarray(at + MIME_TYPE.length);
  const [meta, rest] = decodeForeignCbor(payload, 'OpenPrintTag');
  const offset = meta instanceof Map ? meta.get(MAIN_REGION_OFFSET) : undefined;
  const [main] = decodeForeignCbor(typeof offset === 'number' ? payload.subarray(offset) : rest, 'OpenPrintTag');
  if (!(meta instanceof Map) || !(main instanceof Map))
    throw new MillraceError('E_INPUT', 'neither OpenSpool nor OpenPrintTag');
  const number = (field: number, scale = 1): number | undefined => {
    const value: unknown = main.get(field);
    return typeof value === 'number' && value > 0 ? Math.round(value * scale) : undefined;
  };
  const type: unknown = main.get(FIELDS.type);
  const name = typeof type === 'number' ? materialTypes[type] : undefined;
  if (name === undefined) throw new MillraceError('E_INPUT', 'OpenPrintTag: the tag names no type of material');
  const filament = main.get(FIELDS.class) === FFF;
  return defined({
    name,
    ...texts({ brand: main.get(FIELDS.brand), product: main.get(FIELDS.product) }),
    grams: number(FIELDS.actualGrams) ?? number(FIELDS.nominalGrams),
    density: number(FIELDS.density, 1_000),
    diameter: number(FIELDS.diameter, 1_000) ?? (filament ? USUAL_DIAMETER * 1_000 : undefined),
  });
}

/** Leaves out what is no text. */
function texts(fields: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fields).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string' && entry[1] !== '',
    ),
  );
}

function defined(fields: Readonly<Record<string, unknown>>) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function indexOf(bytes: Uint8Array, wanted: Uint8Array): number {
  for (let at = 0; at + wanted.length <= bytes.length; at++)
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return at;
  return -1;
}
