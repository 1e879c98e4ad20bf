import { expand, extract } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { turboshake128 } from '@noble/hashes/sha3-addons.js';

/**
 * A second implementation of the streaming live matrix, written from spec/live-matrix.md with big integers and another
 * library's hash. It is slow and simple, and shares no code with the package. It shows that the spec and the vectors
 * suffice.
 */

export interface Parameters {
  readonly suite: string;
  readonly order: number;
  readonly hints: string;
  readonly blockHints?: number;
  readonly chaffPercent?: number;
}

const text = (value: string) => new TextEncoder().encode(value);

function numberOf(bytes: Uint8Array): bigint {
  return bytes.reduceRight((sum, byte) => sum * 256n + BigInt(byte), 0n);
}

function bytesOf(value: bigint, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Section 3. */
export function hash(suite: string, g: bigint, t: bigint, k: Uint8Array): Uint8Array {
  const message = join(bytesOf(g, 8), bytesOf(t, 8), k);
  const digest = suite === 'keccak256' ? keccak_256(message) : turboshake128(message, { D: 0x4d, dkLen: 32 });
  return digest.slice(0, 8);
}

/** Section 4. */
export function revisionKeys(secret: Uint8Array): Record<'table' | 'chaff' | 'mac' | 'parity', Uint8Array> {
  const key = (label: string) => expand(sha256, secret, text(label), 32);
  return { table: key('table'), chaff: key('chaff'), mac: key('mac'), parity: key('parity') };
}

export function nextSecret(secret: Uint8Array, fresh?: Uint8Array): Uint8Array {
  const next = expand(sha256, secret, text('ratchet'), 32);
  return fresh === undefined ? next : extract(sha256, fresh, next);
}

/** Section 6: the generator, a block's parity bits, the division into blocks, and the parity. */
export const generator = turboshake128(text('millrace parity code 1'), { D: 0x50, dkLen: 342 * 24 * 64 });

export function blocksOf(mode: string, hints: number, blockHints: number): { hints: number; parityBytes: number }[] {
  const count = Math.ceil(hints / blockHints);
  return Array.from({ length: count }, (_, i) => {
    const size = Math.floor(hints / count) + (i < hints % count ? 1 : 0);
    const bits = size + Math.floor(Math.sqrt(30 * size)) + 12;
    return { hints: size, parityBytes: mode === 'sparse' ? 4 : Math.ceil(bits / 8) };
  });
}

export function parity(blockBytes: Uint8Array, parityBytes: number): bigint {
  let sum = 0n;
  for (let bit = 0; bit < 8 * blockBytes.length; bit++) {
    const set = ((blockBytes[bit >> 3] ?? 0) >> (bit & 7)) & 1;
    if (set === 1) sum ^= numberOf(generator.subarray(64 * bit, 64 * bit + parityBytes));
  }
  return sum;
}

/** Section 7. */
function keystream(suite: string, t: bigint, k: Uint8Array, frame: number, from: number, length: number): Uint8Array {
  const hashes = Array.from({ length: Math.ceil(length / 8) }, (_, i) =>
    hash(suite, (BigInt(frame) << 32n) + BigInt(from + i), t, k),
  );
  return join(...hashes).slice(0, length);
}

function xor(a: Uint8Array, b: Uint8Array): Uint8Array {
  return a.map((byte, i) => byte ^ (b[i] ?? 0));
}

function chaffAt(suite: string, t: bigint, k: Uint8Array, frame: number, hints: number, chaff: number): boolean[] {
  const words = chaff === 0 ? new Uint8Array() : keystream(suite, t, k, frame, 2 ** 20, 4 * hints);
  let left = chaff;
  return Array.from({ length: hints }, (_, i) => {
    const word = numberOf(words.subarray(4 * i, 4 * i + 4));
    const taken = left > 0 && (word * BigInt(hints - i)) >> 32n < BigInt(left);
    if (taken) left--;
    return taken;
  });
}

/** Sections 5, 7 and 8: encodes a whole frame. */
export function encode(
  p: Parameters,
  session: Uint8Array,
  t: bigint,
  secret: Uint8Array,
  frame: number,
  cell: Uint8Array,
): Uint8Array {
  const keys = revisionKeys(secret);
  const m = p.order / 8;
  const hintBytes = p.hints === 'dense' ? m : m + 1;
  const data = cell.length / m;
  const chaff = Math.round((data * (p.chaffPercent ?? 0)) / 100);
  const hints = data + chaff;
  const blockHints = p.blockHints ?? (p.order === 8 ? 48 : 342);
  const places = chaffAt(p.suite, t, keys.parity, frame, hints, chaff);
  const chaffSource = keystream(p.suite, t, keys.parity, frame, 2 ** 21, 8 * chaff);
  const chaffRange = (BigInt(chaff) << BigInt(p.order)) / BigInt(data);
  const segments: Uint8Array[] = [];
  const wire: Uint8Array[] = [];
  let [nextData, nextChaff] = [0, 0];
  for (const isChaff of places) {
    const word = numberOf(chaffSource.slice(8 * nextChaff, 8 * nextChaff + 4));
    const segment = isChaff ? bytesOf(((word >> 3n) * chaffRange) >> 29n, m) : cell.slice(nextData, nextData + m);
    if (isChaff) nextChaff++;
    else nextData += m;
    segments.push(isChaff ? new Uint8Array(m) : segment);
    wire.push(hash(p.suite, numberOf(segment), t, isChaff ? keys.chaff : keys.table).slice(0, hintBytes));
  }
  const parities: Uint8Array[] = [];
  let first = 0;
  for (const block of blocksOf(p.hints, hints, blockHints)) {
    parities.push(
      bytesOf(parity(join(...segments.slice(first, first + block.hints)), block.parityBytes), block.parityBytes),
    );
    first += block.hints;
  }
  const count = p.hints === 'sparse' ? Uint8Array.of(chaff >> 8, chaff & 255) : new Uint8Array();
  const clear = join(count, ...parities);
  const header = join(
    Uint8Array.of(0x4d, 0x46, 1, p.suite === 'keccak256' ? 1 : 2, p.order, p.hints === 'dense' ? 0 : 1),
    session,
    bytesOf(t, 8).reverse(),
    bytesOf(BigInt(frame), 4).reverse(),
    bytesOf(BigInt(hints), 2).reverse(),
    bytesOf(BigInt(blockHints), 2).reverse(),
  );
  const body = join(header, ...wire, xor(clear, keystream(p.suite, t, keys.parity, frame, 0, clear.length)));
  return join(body, hmac(sha256, keys.mac, body).slice(0, 16));
}

/**
 * The receiver for dense hints: inverse table, candidates, Gaussian elimination (section 6.4).
 * @returns undefined if the frame's MAC is wrong or the solution is not unique
 */
export function decodeDense(p: Parameters, secret: Uint8Array, frame: Uint8Array): Uint8Array | undefined {
  const keys = revisionKeys(secret);
  const m = p.order / 8;
  const number = (at: number, length: number) => numberOf(frame.slice(at, at + length).reverse());
  const t = number(22, 8);
  const hints = Number(number(34, 2));
  const body = frame.slice(0, -16);
  if (numberOf(hmac(sha256, keys.mac, body).slice(0, 16)) !== numberOf(frame.slice(-16))) return undefined;
  const inverse = new Map<bigint, bigint[]>();
  for (let g = 0n; g < 1n << BigInt(p.order); g++) {
    const code = numberOf(hash(p.suite, g, t, keys.table).slice(0, m));
    inverse.set(code, [...(inverse.get(code) ?? []), g]);
  }
  const masked = body.slice(38 + hints * m);
  const clear = xor(masked, keystream(p.suite, t, keys.parity, Number(number(30, 4)), 0, masked.length));
  const out: Uint8Array[] = [];
  let [first, parityAt] = [0, 0];
  for (const block of blocksOf('dense', hints, Number(number(36, 2)))) {
    const candidates = Array.from({ length: block.hints }, (_, i) => {
      const at = 38 + (first + i) * m;
      return inverse.get(numberOf(frame.slice(at, at + m))) ?? [];
    });
    const solved = solve(candidates, m, clear.slice(parityAt, parityAt + block.parityBytes));
    if (solved === undefined) return undefined;
    out.push(...solved);
    first += block.hints;
    parityAt += block.parityBytes;
  }
  return join(...out);
}

function solve(candidates: bigint[][], m: number, target: Uint8Array): Uint8Array[] | undefined {
  if (candidates.some((list) => list.length === 0)) return undefined;
  const bytes = target.length;
  const atPlace = (place: number, value: bigint) => parity(join(new Uint8Array(place * m), bytesOf(value, m)), bytes);
  const chosen = candidates.map((list) => list[0] ?? 0n);
  const unknowns = candidates.flatMap((list, place) => list.slice(1).map((value) => ({ place, value })));
  let rest = chosen.reduce((sum, value, place) => sum ^ atPlace(place, value), numberOf(target));
  // Unknown j: its change of the parity in the low bits, one bit that identifies it above them.
  const width = BigInt(8 * bytes);
  const low = (1n << width) - 1n;
  const basis: bigint[] = [];
  const nulls: bigint[] = [];
  for (const [j, { place, value }] of unknowns.entries()) {
    let row = atPlace(place, value ^ (chosen[place] ?? 0n)) | (1n << (width + BigInt(j)));
    for (const one of basis) if (((row & low) ^ (one & low)) < (row & low)) row ^= one;
    if ((row & low) === 0n) nulls.push(row);
    else basis.push(row);
    basis.sort((a, b) => ((a & low) < (b & low) ? 1 : -1));
  }
  for (const one of basis) if (((rest & low) ^ (one & low)) < (rest & low)) rest ^= one;
  if ((rest & low) !== 0n) return undefined;
  const solutions = Array.from({ length: 2 ** nulls.length }, (_, choice) =>
    nulls.reduce((sum, one, i) => ((choice >> i) & 1 ? sum ^ one : sum), rest),
  ).map((sum) => unknowns.filter((_, j) => ((sum >> (width + BigInt(j))) & 1n) === 1n));
  const [solution, another] = solutions.filter(
    (taken) => new Set(taken.map(({ place }) => place)).size === taken.length,
  );
  if (solution === undefined || another !== undefined) return undefined;
  for (const { place, value } of solution) chosen[place] = value;
  return chosen.map((value) => bytesOf(value, m));
}
