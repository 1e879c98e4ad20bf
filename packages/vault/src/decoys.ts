import { createCipheriv, createHash, createHmac } from 'node:crypto';
import { type Bytes, copyBytes, type RandomSource, u32be, utf8, wipe } from '@millrace/base';
import { emptyHolding, type Holding } from './records.ts';
import { DESIGN_ID_BYTES, KEY_BYTES, SEGMENT_BYTES } from './sizes.ts';
import type { KeyWrapper } from './wrapper.ts';

// Decoys are made from a seed rather than drawn, so that making one twice makes the same one (spec/vault.md, section 4).

const LABEL = utf8('decoy');
const CONTEXT = utf8('millrace/v1/decoys');
const ZEROS = new Uint8Array(SEGMENT_BYTES);

/** The pseudo design that has the decoys, with a secret of its own. */
export async function newDecoys(wrapper: KeyWrapper, random: RandomSource): Promise<Holding> {
  const secret = random(KEY_BYTES);
  const seed = await wrapper.wrap(secret, CONTEXT);
  wipe(secret);
  return { ...emptyHolding(random(DESIGN_ID_BYTES), random), decoys: true, seed };
}

/** 32 bytes, the caller wipes them. @throws {MillraceError} E_SEAL */
export function decoySecret({ seed }: Holding, wrapper: KeyWrapper): Promise<Bytes> {
  return wrapper.unwrap(seed ?? new Uint8Array(), CONTEXT);
}

/** Seed of decoy n: 32 bytes, the caller wipes them. */
export function decoySeed(secret: Uint8Array, segment: number): Bytes {
  return copyBytes(createHmac('sha256', secret).update(LABEL).update(u32be(segment)).digest());
}

/** What stands in for sealed bytes: 16,386 bytes. */
export function decoyBytes(seed: Uint8Array): Bytes {
  return copyBytes(createCipheriv('aes-256-ctr', seed, new Uint8Array(16)).update(ZEROS));
}

/** SHA-256 of decoy n's bytes. */
export function decoyHash(secret: Uint8Array, segment: number): Bytes {
  const seed = decoySeed(secret, segment);
  const hash = createHash('sha256').update(decoyBytes(seed)).digest();
  wipe(seed);
  return copyBytes(hash);
}

/** How many decoys the designs' cells want at a density in percent; none at 0, where there are no designs. */
export function decoysFor(holdings: Iterable<Holding>, density: number): number {
  let real = 0;
  for (const { decoys, deleted, segments } of holdings) if (!decoys && !deleted) real += segments;
  return density === 0 ? 0 : Math.ceil((real * (100 - density)) / density);
}
