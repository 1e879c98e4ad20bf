import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Bytes, copyBytes, equalBytes } from '@millrace/base';
import {
  createEngine,
  createSender,
  type HashEngine,
  HEADER_BYTES,
  type MatrixParameters,
} from '@millrace/live-matrix';
import { applyOuterLayer, CONTENT_BYTES, sealSegment } from '@millrace/vault';

/** Pseudo-random bytes: SHAKE256 of a label. Deterministic, so that statistical tests never fail by chance. */
export function known(label: string, length: number): Bytes {
  return copyBytes(createHash('shake256', { outputLength: length }).update(label).digest());
}

/** G-code from a real slicer. */
export const impeller = (): Bytes =>
  copyBytes(readFileSync(new URL('../../../../samples/impeller.gcode', import.meta.url)));

/** A design's cells as stored by the vault: segments sealed under their own keys, each with an outer layer. */
export function cellsOf(design: Uint8Array, label: string): Bytes[] {
  const count = Math.ceil(design.length / CONTENT_BYTES);
  return Array.from({ length: count }, (_, number) => {
    const content = new Uint8Array(CONTENT_BYTES);
    content.set(design.subarray(number * CONTENT_BYTES, (number + 1) * CONTENT_BYTES));
    const cek = known(`${label} cek ${number}`, 32);
    const designNonce = known(`${label} nonce`, 16);
    const designSecret = known(`${label} secret`, 32);
    const sealed = sealSegment({ cek, designSecret, content, designNonce, number, final: number === count - 1 });
    return applyOuterLayer(known(`${label} outer ${number}`, 32), sealed);
  });
}

/** Little-endian values of `width` bytes. Omits an incomplete last value. */
export function valuesOf(bytes: Uint8Array, width: number): Uint32Array {
  return Uint32Array.from({ length: Math.floor(bytes.length / width) }, (_, i) =>
    bytes.subarray(i * width, (i + 1) * width).reduceRight((value, byte) => value * 256 + byte, 0),
  );
}

/** All hints of a frame, including chaff, as an observer sees them. */
export function hintsOf(frame: Uint8Array, hintBytes: number): Uint32Array {
  const count = new DataView(frame.buffer, frame.byteOffset).getUint16(34);
  return valuesOf(frame.subarray(HEADER_BYTES, HEADER_BYTES + count * hintBytes), hintBytes);
}

/** Hints as in the paper: only the hash of each symbol, without its position. */
export function bareHints(
  engine: HashEngine,
  key: Uint8Array,
  values: Uint32Array,
  hintBytes: number,
  revision = 0n,
): Uint32Array {
  const hashes = new Uint32Array(2 * values.length);
  engine.hashBatch({ suite: 'keccak256', revision, key }, 0, values, hashes);
  const mask = 2 ** (8 * hintBytes) - 1;
  return Uint32Array.from(values, (_, i) => ((hashes[2 * i] ?? 0) & mask) >>> 0);
}

/** Frames of a session in one revision, encoded by the product's sender. */
export function framesOf(parameters: MatrixParameters, label: string, cells: readonly Uint8Array[]): Bytes[] {
  const sender = createSender({
    parameters,
    sessionId: known(`${label} session`, 16),
    seed: known(`${label} seed`, 32),
    engine: createEngine(),
  });
  try {
    return cells.map((cell, number) => sender.encode(number, cell));
  } finally {
    sender.close();
  }
}

/** Number of correct bytes of `wanted`, in units of `width`. */
export function share(found: readonly (number | undefined)[], wanted: Uint32Array): number {
  let right = 0;
  for (const [i, value] of wanted.entries()) if (found[i] === value) right++;
  return right / wanted.length;
}

export const same = (a: Uint8Array, b: Uint8Array): boolean => equalBytes(a, b);
