import { type Bytes, copyBytes, MillraceError } from '@millrace/base/core';
import type { HashEngine, HashKey } from './engines/engine.ts';
import { frameShape, MAX_HINTS, writeHeader } from './frame/header.ts';
import { chaffPlaces, chaffValues, maskBytes } from './frame/keystream.ts';
import { frameMac, type Hmac } from './frame/mac.ts';
import { readValues } from './frame/symbols.ts';
import {
  completeParameters,
  isIntegerIn,
  MAX_CELL_BYTES,
  type Matrix,
  type MatrixParameters,
  requireBytes,
  SESSION_ID_BYTES,
} from './parameters.ts';
import { Ratchet, wipeKeys } from './ratchet.ts';
import { ordinaryMemory, type SecretMemory } from './secrets/memory.ts';

export interface SenderOptions {
  readonly parameters: MatrixParameters;
  /** 16 bytes. */
  readonly sessionId: Uint8Array;
  /** s of the first revision, 32 bytes. */
  readonly seed: Uint8Array;
  readonly firstRevision?: bigint;
  readonly engine: HashEngine;
}

/** Encodes cells into frames. Builds no table: it hashes only the symbols that it sends. */
export interface Sender {
  readonly revision: bigint;
  /**
   * Encodes one frame of the current revision.
   * @param frameNumber unsigned 32-bit; used once within a revision
   * @param cell at most 65,538 bytes (65,535 at order 8), a multiple of the matrix's symbol size
   * @throws {MillraceError} E_INPUT, E_TOO_LARGE; E_FRAME_REPLAY if the number was used in this revision
   */
  encode(frameNumber: number, cell: Uint8Array): Bytes;
  /** Advances to the next revision and wipes the keys of this one. @throws {MillraceError} E_REVISION_MIX */
  advance(): void;
  /** Fresh shared secret for the next revision, if that is a multiple of 64. */
  mix(secret: Uint8Array): void;
  close(): void;
}

/**
 * @param hmac the platform's HMAC
 * @param secrets memory for keys
 */
export function makeSender(options: SenderOptions, hmac: Hmac, secrets: SecretMemory = ordinaryMemory): Sender {
  const matrix = completeParameters(options.parameters);
  const { engine } = options;
  requireBytes('the session identifier', options.sessionId, SESSION_ID_BYTES);
  const session = copyBytes(options.sessionId);
  const ratchet = new Ratchet(options.seed, options.firstRevision ?? 0n, secrets);
  const used = new Set<number>();
  let closed = false;

  return {
    get revision() {
      return ratchet.revision;
    },
    encode(frameNumber, cell) {
      if (closed) throw new MillraceError('E_STATE', 'the sender is closed');
      checkCell(matrix, frameNumber, cell);
      if (used.has(frameNumber)) {
        // A second cell under the same mask would reveal the XOR of both parities.
        throw new MillraceError('E_FRAME_REPLAY', 'this frame number was already used in this revision');
      }
      used.add(frameNumber);
      return encodeFrame(engine, hmac, matrix, session, ratchet, frameNumber, cell);
    },
    advance() {
      const { keys } = ratchet;
      ratchet.advance();
      wipeKeys(keys);
      used.clear();
    },
    mix(secret) {
      ratchet.mix(secret);
    },
    close() {
      closed = true;
      ratchet.close();
    },
  };
}

function checkCell(matrix: Matrix, frameNumber: number, cell: Uint8Array): void {
  if (!isIntegerIn(frameNumber, 0, 2 ** 32 - 1)) {
    throw new MillraceError('E_INPUT', 'a frame number is an unsigned 32-bit number');
  }
  const most = Math.min(MAX_CELL_BYTES, MAX_HINTS * matrix.symbolBytes);
  if (cell.length > most) {
    throw new MillraceError('E_TOO_LARGE', `a cell has at most ${most} bytes`);
  }
  if (cell.length === 0 || cell.length % matrix.symbolBytes !== 0) {
    throw new MillraceError('E_INPUT', `a cell's length must be a positive multiple of ${matrix.symbolBytes}`);
  }
}

function encodeFrame(
  engine: HashEngine,
  hmac: Hmac,
  matrix: Matrix,
  session: Uint8Array,
  ratchet: Ratchet,
  frame: number,
  cell: Uint8Array,
): Bytes {
  const { keys, revision } = ratchet;
  const key = (bytes: Uint8Array): HashKey => ({ suite: matrix.suite, revision, key: bytes });
  const data = readValues(cell, matrix.symbolBytes);
  const chaff = Math.min(Math.round((data.length * matrix.chaffPercent) / 100), MAX_HINTS - data.length);
  const hints = data.length + chaff;
  const shape = frameShape(matrix, hints, matrix.blockHints);
  const out = new Uint8Array(shape.frameBytes);
  writeHeader(out, matrix, { session, revision, frame, hints, blockHints: matrix.blockHints });

  const dataHashes = new Uint32Array(2 * data.length);
  engine.hashBatch(key(keys.table), 0, data, dataHashes);
  const chaffHashes = new Uint32Array(2 * chaff);
  const chosen = chaffValues(engine, key(keys.parity), frame, matrix.order, hints, chaff);
  engine.hashBatch(key(keys.chaff), 0, chosen, chaffHashes);
  const places = chaffPlaces(engine, key(keys.parity), frame, hints, chaff);
  const values = chaff === 0 ? data : new Uint32Array(hints); // 0 for chaff
  const hintsAt = shape.hintsEnd - hints * matrix.hintBytes;
  if (chaff === 0) writeHints(dataHashes, matrix.hintBytes, out.subarray(hintsAt, shape.hintsEnd));
  for (let i = 0, at = hintsAt, nextData = 0, nextChaff = 0; chaff > 0 && i < hints; i++) {
    const isChaff = places[i] === 1;
    const code = (isChaff ? chaffHashes[2 * nextChaff++] : dataHashes[2 * nextData]) ?? 0;
    if (!isChaff) values[i] = data[nextData++] ?? 0;
    for (let j = 0; j < matrix.hintBytes; j++) out[at++] = code >>> (8 * j);
  }

  if (matrix.hints === 'sparse') {
    out[shape.hintsEnd] = chaff >>> 8;
    out[shape.hintsEnd + 1] = chaff & 0xff;
  }
  out.set(engine.parity(values, matrix.order, shape.blocks), shape.parityAt);
  maskBytes(engine, key(keys.parity), frame, out.subarray(shape.hintsEnd, shape.maskedEnd));
  out.set(frameMac(hmac, keys.mac, out.subarray(0, shape.maskedEnd)), shape.maskedEnd);
  return out;
}

/** Writes hints without chaff. One plain loop for all widths: a sender spends most of its JavaScript time here. */
function writeHints(hashes: Uint32Array, hintBytes: number, out: Uint8Array): void {
  const count = hashes.length / 2;
  for (let i = 0, at = 0; i < count; i++) {
    const code = hashes[2 * i] ?? 0;
    out[at++] = code;
    if (hintBytes > 1) out[at++] = code >>> 8;
    if (hintBytes > 2) out[at++] = code >>> 16;
    if (hintBytes > 3) out[at++] = code >>> 24;
  }
}
