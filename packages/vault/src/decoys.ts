import { createHash, createHmac } from 'node:crypto';
import { type Bytes, copyBytes, type RandomSource, toHex, u32be, utf8, wipe } from '@millrace/base';
import { ctr } from './ctr.ts';
import { hasPoints } from './holding-modes.ts';
import { emptyHolding, type Holding, type VaultState } from './records.ts';
import { DESIGN_ID_BYTES, KEY_BYTES, SEGMENT_BYTES } from './sizes.ts';
import type { KeyWrapper } from './wrapper.ts';

/** Decoys created by one message; about a megabyte. */
export const DECOYS_AT_ONCE = 64;
/** Decoys of points created by one message: seconds of work. */
export const POINT_DECOYS_AT_ONCE = 8;

// Decoys are derived from a seed, so that recreating one gives the same bytes (spec/vault.md, section 4).

const LABEL = utf8('decoy');
const CONTEXT = utf8('millrace/v1/decoys');
const ZEROS = new Uint8Array(SEGMENT_BYTES);

/** Seed of decoy n: 32 bytes, the caller wipes them. */
export function decoySeed(secret: Uint8Array, segment: number): Bytes {
  return copyBytes(createHmac('sha256', secret).update(LABEL).update(u32be(segment)).digest());
}

/** The decoy's bytes in place of a sealed segment: 16,386 bytes. */
export function decoyBytes(seed: Uint8Array): Bytes {
  return copyBytes(ctr(seed, ZEROS));
}

/** SHA-256 of decoy n's bytes. */
export function decoyHash(secret: Uint8Array, segment: number): Bytes {
  const seed = decoySeed(secret, segment);
  const hash = createHash('sha256').update(decoyBytes(seed)).digest();
  wipe(seed);
  return copyBytes(hash);
}

/** The decoys of one of the two forms of cells. Each form has as many decoys as its designs' cells require. */
export interface DecoySet {
  /** Name of the pseudo design. */
  readonly name: string;
  /** Whether the decoys lie under layers of points. */
  readonly points: boolean;
  /** Secret from which the bytes are derived. Wiped when the playbook closes. */
  readonly secret: Bytes;
}

/**
 * The decoys of both forms. Creates missing ones and adds them to the holdings.
 * @returns the records to store
 * @throws {MillraceError} E_SEAL if the secret was wrapped by another node
 */
export async function openDecoys(
  holdings: Map<string, Holding>,
  wrapper: KeyWrapper,
  random: RandomSource,
): Promise<{ sets: DecoySet[]; created: Holding[] }> {
  const sets: DecoySet[] = [];
  const created: Holding[] = [];
  for (const points of [false, true]) {
    let holding = [...holdings.values()].find((one) => one.decoys && hasPoints(one) === points);
    if (holding === undefined) {
      const secret = random(KEY_BYTES);
      const id = random(DESIGN_ID_BYTES);
      const seed = await wrapper.wrap(secret, CONTEXT);
      wipe(secret);
      holding = { ...emptyHolding(id, random), decoys: true, seed, ...(points && { mode: 'key-homomorphic' }) };
      created.push(holding);
      holdings.set(toHex(id), holding);
    }
    const secret = await wrapper.unwrap(holding.seed ?? new Uint8Array(), CONTEXT);
    sets.push({ name: toHex(holding.id), points, secret });
  }
  return { sets, created };
}

/** Number of decoys of a form for a density in percent. Density 0 allows no designs. */
export function decoysWanted(
  { points }: Pick<DecoySet, 'points'>,
  holdings: Iterable<Holding>,
  { density, minimumDecoys }: Pick<VaultState, 'density' | 'minimumDecoys'>,
): number {
  let real = 0;
  for (const holding of holdings)
    if (!holding.decoys && !holding.deleted && hasPoints(holding) === points) real += holding.segments;
  const wanted = density === 0 ? 0 : Math.ceil((real * (100 - density)) / density);
  return points ? wanted : Math.max(minimumDecoys, wanted);
}
