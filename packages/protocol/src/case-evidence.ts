import { type Bytes, concatBytes, decodeCbor, encodeCbor, fromHex, MillraceError, parse, utf8 } from '@millrace/base';
import { type P256Key, seal, unseal } from '@millrace/identity';
import { z } from 'zod';
import type { OwnerBinding } from './owner-state.ts';
import { MAX_EVIDENCE_BYTES } from './shapes.ts';

/** Maximum bytes of a photo. */
export const MAX_PHOTO_BYTES = 2_000_000;

const evidenceSchema = z.strictObject({
  text: z.string().min(1).max(1_000).optional(),
  photo: z
    .strictObject({
      type: z.enum(['image/jpeg', 'image/png']),
      bytes: z.instanceof(Uint8Array).refine((bytes) => bytes.length <= MAX_PHOTO_BYTES, { error: 'more than 2 MB' }),
    })
    .optional(),
});
/** What the holder tells and shows the owner about a failed object. */
export type CaseEvidence = z.output<typeof evidenceSchema>;

const infoOf = ({ installation, object }: OwnerBinding): Bytes =>
  concatBytes(utf8('millrace/v1/case-evidence/'), fromHex(installation), utf8(object));

/** @param key the licence's `telemetryKey` @throws {MillraceError} E_INPUT, E_TOO_LARGE */
export async function sealEvidence(key: Uint8Array, binding: OwnerBinding, evidence: CaseEvidence): Promise<Bytes> {
  const sealed = await seal(key, infoOf(binding), encodeCbor(parse(evidenceSchema, evidence, 'evidence') as never));
  if (sealed.length > MAX_EVIDENCE_BYTES)
    throw new MillraceError('E_TOO_LARGE', `the evidence has ${sealed.length} bytes; at most ${MAX_EVIDENCE_BYTES}`);
  return sealed;
}

/** @throws {MillraceError} E_SEAL, E_INPUT */
export async function openEvidence(owner: P256Key, binding: OwnerBinding, sealed: Uint8Array): Promise<CaseEvidence> {
  const plaintext = await unseal(owner, infoOf(binding), sealed);
  return parse(evidenceSchema, decodeCbor(plaintext, 'evidence'), 'evidence');
}
