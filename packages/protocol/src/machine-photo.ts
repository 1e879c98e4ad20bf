import { type Bytes, concatBytes, decodeCbor, encodeCbor, fromHex, parse, utf8 } from '@millrace/base';
import { type P256Key, seal, unseal } from '@millrace/identity';
import { z } from 'zod';
import { MAX_PHOTO_BYTES } from './case-evidence.ts';
import type { OwnerBinding } from './owner-state.ts';

const photoSchema = z.strictObject({
  /** By the machine's clock, ms since 1970. */
  time: z.number().int().nonnegative(),
  moment: z.enum(['start', 'during', 'end', 'failure']),
  jpeg: z.instanceof(Uint8Array).refine((bytes) => bytes.length <= MAX_PHOTO_BYTES, { error: 'more than 2 MB' }),
});
/** What a camera at the machine saw during one run. */
export type MachinePhoto = z.output<typeof photoSchema>;

/** Binds a photo to the run, so that it cannot be shown for another one. */
export interface PhotoBinding extends OwnerBinding {
  readonly run: Uint8Array;
}

const infoOf = ({ installation, object, run }: PhotoBinding): Bytes =>
  concatBytes(utf8('millrace/v1/machine-photo/'), fromHex(installation), run, utf8(object));

/** @param key the licence's `telemetryKey` @throws {MillraceError} E_INPUT */
export function sealPhoto(key: Uint8Array, binding: PhotoBinding, photo: MachinePhoto): Promise<Bytes> {
  return seal(key, infoOf(binding), encodeCbor(parse(photoSchema, photo, 'photo') as never));
}

/** @throws {MillraceError} E_SEAL, E_INPUT */
export async function openPhoto(owner: P256Key, binding: PhotoBinding, sealed: Uint8Array): Promise<MachinePhoto> {
  return parse(photoSchema, decodeCbor(await unseal(owner, infoOf(binding), sealed), 'photo'), 'photo');
}
