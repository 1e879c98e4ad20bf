import { type Bytes, MillraceError } from '@millrace/base/core';
import type { Candidates } from '../code/solve.ts';
import type { HashEngine, HashKey, LaterCalls } from '../engines/engine.ts';
import { MAX_CELL_BYTES, type Matrix } from '../parameters.ts';
import { type FrameHeader, type FrameShape, readHeader } from './header.ts';
import { chaffPlaces, maskBytes } from './keystream.ts';
import { readValues, writeValues } from './symbols.ts';

export interface ResolveKeys {
  readonly table: Uint8Array;
  readonly parity: Uint8Array;
}

/** The most expensive calls, with the frame's table. They run on this thread or another. */
export interface LongCalls {
  lookUp(codes: Uint32Array, skip: Uint8Array): Candidates | Promise<Candidates>;
  readonly solve: HashEngine['solve'] | LaterCalls['solve'];
}

/**
 * Resolves an authenticated frame to its cell: unmasks, looks up every hint, selects among candidates by the parity.
 * @throws {MillraceError} E_FRAME_FORMAT, E_FRAME_UNSOLVED
 */
export async function resolveFrame(
  engine: HashEngine,
  matrix: Matrix,
  keys: ResolveKeys,
  frame: Uint8Array,
  long: LongCalls,
): Promise<Bytes> {
  const header = readHeader(frame, matrix);
  const { shape } = header;
  const tableKey: HashKey = { suite: matrix.suite, revision: header.revision, key: keys.table };
  const parityKey: HashKey = { suite: matrix.suite, revision: header.revision, key: keys.parity };
  const masked = frame.slice(shape.hintsEnd, shape.maskedEnd);
  maskBytes(engine, parityKey, header.frame, masked);
  const parity = masked.subarray(shape.parityAt - shape.hintsEnd);
  const chaff = matrix.hints === 'sparse' ? ((masked[0] ?? 0) << 8) | (masked[1] ?? 0) : 0;
  const dataHints = header.hints - chaff;
  if (dataHints < 1 || dataHints * matrix.symbolBytes > MAX_CELL_BYTES) {
    throw new MillraceError('E_FRAME_FORMAT', 'a frame declares an impossible number of chaff hints');
  }
  const isChaff = chaffPlaces(engine, parityKey, header.frame, header.hints, chaff);
  const candidates = await findCandidates(engine, long, matrix, tableKey, frame, header, isChaff);

  const values = new Uint32Array(header.hints);
  if (!(await long.solve(candidates, matrix.order, shape.blocks, parity, values))) {
    throw new MillraceError('E_FRAME_UNSOLVED', `the hints of frame ${header.frame} do not have exactly one solution`, {
      data: { frame: header.frame, revision: header.revision },
    });
  }
  const cell = new Uint8Array(dataHints * matrix.symbolBytes);
  const data = chaff === 0 ? values : values.filter((_, i) => isChaff[i] === 0);
  writeValues(data, matrix.symbolBytes, cell);
  return cell;
}

async function findCandidates(
  engine: HashEngine,
  long: LongCalls,
  matrix: Matrix,
  tableKey: HashKey,
  frame: Uint8Array,
  { hints, shape }: FrameHeader & { readonly shape: FrameShape },
  isChaff: Uint8Array,
): Promise<Candidates> {
  const codes = readValues(frame.subarray(shape.hintsEnd - hints * matrix.hintBytes, shape.hintsEnd), matrix.hintBytes);
  // In the code, chaff counts as symbol 0. It has no candidates.
  const found = await long.lookUp(codes, isChaff);
  return matrix.hints === 'sparse' ? hashAgain(engine, tableKey, matrix.hintBytes, codes, found) : found;
}

/** The table compares only the dense part of a sparse code. If several candidates remain, the full code decides. */
function hashAgain(
  engine: HashEngine,
  key: HashKey,
  hintBytes: number,
  codes: Uint32Array,
  found: Candidates,
): Candidates {
  const mask = 2 ** (8 * hintBytes) - 1;
  const { starts, values } = found;
  // Plain loops over typed arrays: about two candidates for each of a few thousand hints.
  const guesses = new Uint32Array(values.length);
  let unsure = 0;
  for (let i = 0; i < codes.length; i++) {
    const end = starts[i + 1] ?? 0;
    const start = starts[i] ?? 0;
    for (let at = start; end - start > 1 && at < end; at++) guesses[unsure++] = values[at] ?? 0;
  }
  const hashes = new Uint32Array(2 * unsure);
  engine.hashBatch(key, 0, guesses.subarray(0, unsure), hashes);
  const keptStarts = new Uint32Array(starts.length);
  const kept = new Uint32Array(values.length);
  let to = 0;
  for (let i = 0, next = 0; i < codes.length; i++) {
    keptStarts[i] = to;
    const end = starts[i + 1] ?? 0;
    const start = starts[i] ?? 0;
    for (let at = start; at < end; at++) {
      if (end - start === 1 || ((hashes[2 * next++] ?? 0) & mask) >>> 0 === codes[i]) kept[to++] = values[at] ?? 0;
    }
  }
  keptStarts[codes.length] = to;
  return { starts: keptStarts, values: kept.subarray(0, to) };
}
