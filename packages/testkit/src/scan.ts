import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Length of a run that counts as a piece of the design, bytes. */
export const RUN = 16;
const BLOCK = 8;

export interface Haystack {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export interface Finding {
  readonly haystack: string;
  readonly at: number;
  /** Offset of the run in the design, and its length. */
  readonly offset: number;
  readonly length: number;
}

const mix = (high: number, low: number): number => Math.imul(high, 0x9e3779b1) ^ Math.imul(low, 0x85ebca6b);

/**
 * Finds every haystack that contains a 16-byte run of the design, at any offset of either. It indexes the design's
 * 8-byte blocks at multiples of 8, because any run of 16 bytes contains one, looks up every offset of a haystack, and
 * extends each match.
 */
export class Needle {
  readonly #design: Uint8Array;
  readonly #shift: number;
  readonly #heads: Int32Array;
  readonly #next: Int32Array;

  constructor(design: Uint8Array) {
    if (design.length < RUN) throw new Error('the design is shorter than a run');
    this.#design = design;
    const blocks = Math.floor(design.length / BLOCK);
    const bits = Math.min(26, Math.max(10, Math.ceil(Math.log2(blocks)) + 2));
    this.#shift = 32 - bits;
    this.#heads = new Int32Array(1 << bits).fill(-1);
    this.#next = new Int32Array(blocks);
    const view = new DataView(design.buffer, design.byteOffset, design.length);
    for (let block = 0; block < blocks; block++) {
      const slot = mix(view.getUint32(block * BLOCK), view.getUint32(block * BLOCK + 4)) >>> this.#shift;
      this.#next[block] = this.#heads[slot] ?? -1;
      this.#heads[slot] = block;
    }
  }

  /** The first run of the design in a haystack. */
  find({ name, bytes }: Haystack): Finding | undefined {
    const [heads, shift] = [this.#heads, this.#shift];
    let [high, low] = [0, 0];
    for (let end = 0; end < bytes.length; end++) {
      high = (high << 8) | (low >>> 24);
      low = (low << 8) | (bytes[end] as number);
      if (end < BLOCK - 1) continue;
      const block = heads[mix(high, low) >>> shift] as number;
      if (block < 0) continue;
      const found = this.#compare(bytes, end - BLOCK + 1, block);
      if (found !== undefined) return { haystack: name, ...found };
    }
    return undefined;
  }

  #compare(bytes: Uint8Array, at: number, first: number): Omit<Finding, 'haystack'> | undefined {
    const design = this.#design;
    for (let block = first; block >= 0; block = this.#next[block] as number) {
      const offset = block * BLOCK;
      let [before, after] = [0, 0];
      while (
        at + after < bytes.length &&
        offset + after < design.length &&
        bytes[at + after] === design[offset + after]
      )
        after++;
      if (after < BLOCK) continue;
      while (before < at && before < offset && bytes[at - before - 1] === design[offset - before - 1]) before++;
      if (before + after >= RUN) return { at: at - before, offset: offset - before, length: before + after };
    }
    return undefined;
  }
}

/**
 * Finds haystacks that contain a 16-byte run of the design, either as raw bytes or encoded as base64 or hexadecimal.
 * Empty if there are none.
 */
export function scan(haystacks: Iterable<Haystack>, design: Uint8Array): Finding[] {
  const needle = new Needle(design);
  const findings: Finding[] = [];
  for (const haystack of haystacks) {
    for (const layer of [haystack, ...decoded(haystack)]) {
      const finding = needle.find(layer);
      if (finding !== undefined) findings.push(finding);
    }
  }
  return findings;
}

/** Bytes decoded from text in a haystack: runs of base64 (either alphabet) and of hexadecimal digits. */
function decoded({ name, bytes }: Haystack): Haystack[] {
  const found: Haystack[] = [];
  for (const text of textRuns(bytes)) {
    if (text.length >= 2 * RUN && /^[0-9a-fA-F]+$/.test(text)) {
      found.push({ name: `${name} (hexadecimal)`, bytes: Buffer.from(text.slice(0, text.length & ~1), 'hex') });
      found.push({ name: `${name} (hexadecimal)`, bytes: Buffer.from(text.slice(1), 'hex') });
    }
    for (let skip = 0; skip < 4; skip++)
      found.push({ name: `${name} (base64)`, bytes: Buffer.from(text.slice(skip), 'base64') });
  }
  return found;
}

const isText = new Uint8Array(256);
for (const char of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=')
  isText[char.charCodeAt(0)] = 1;

function* textRuns(bytes: Uint8Array): Generator<string> {
  const least = Math.ceil((RUN * 4) / 3);
  let start = 0;
  for (let at = 0; at <= bytes.length; at++) {
    if (at < bytes.length && isText[bytes[at] as number] === 1) continue;
    if (at - start >= least) yield Buffer.from(bytes.buffer, bytes.byteOffset + start, at - start).toString('latin1');
    start = at + 1;
  }
}

/** The current content of every file below a folder. */
export function* filesOf(folder: string): Generator<Haystack> {
  for (const entry of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const path = join(folder, entry);
    try {
      if (statSync(path).isFile()) yield { name: path, bytes: readFileSync(path) };
    } catch (error) {
      // A running node may remove files during the search.
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    }
  }
}
