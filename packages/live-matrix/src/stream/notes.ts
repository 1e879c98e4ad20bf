import { type Bytes, concatBytes, MillraceError, u32be, u64be } from '@millrace/base/core';
import { POINT_BYTES } from './agreement.ts';
import { MAX_WINDOW } from './opening.ts';

/** Sealed messages sent alongside the frames (spec/live-matrix.md, section 10.4). */
export type Note =
  /** Receiver: its progress. */
  | {
      readonly kind: 'state';
      /** Highest revision whose table is ready. */
      readonly ready: bigint;
      /** Number of cells that the reader has taken: all lower numbers. */
      readonly taken: number;
      /** How long the last table took, ms. */
      readonly tableMs: number;
      /** Frames that could not be solved, to be sent again in a later revision. */
      readonly resend: readonly number[];
    }
  /** Either end: its point for the mix before `revision`. */
  | { readonly kind: 'point'; readonly revision: bigint; readonly point: Uint8Array }
  /** Receiver: everything has been taken. */
  | { readonly kind: 'done'; readonly total: bigint }
  /** Either end: stops before the end of the stream. */
  | { readonly kind: 'stop' };

const STATE = 1;
const POINT = 2;
const DONE = 3;
const STOP = 4;
const STATE_HEAD = 1 + 8 + 4 + 4;

export function encodeNote(note: Note): Bytes {
  switch (note.kind) {
    case 'state':
      return concatBytes(
        new Uint8Array([STATE]),
        u64be(note.ready),
        u32be(note.taken),
        u32be(note.tableMs),
        ...note.resend.map(u32be),
      );
    case 'point':
      return concatBytes(new Uint8Array([POINT]), u64be(note.revision), note.point);
    case 'done':
      return concatBytes(new Uint8Array([DONE]), u64be(note.total));
    case 'stop':
      return new Uint8Array([STOP]);
  }
}

/** @throws {MillraceError} E_FRAME_FORMAT */
export function decodeNote(bytes: Uint8Array): Note {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { length } = bytes;
  switch (bytes[0]) {
    case STATE: {
      const count = (length - STATE_HEAD) / 4;
      if (length < STATE_HEAD || !Number.isInteger(count) || count > MAX_WINDOW) break;
      return {
        kind: 'state',
        ready: view.getBigUint64(1),
        taken: view.getUint32(9),
        tableMs: view.getUint32(13),
        resend: Array.from({ length: count }, (_, i) => view.getUint32(STATE_HEAD + 4 * i)),
      };
    }
    case POINT:
      if (length !== 9 + POINT_BYTES) break;
      return { kind: 'point', revision: view.getBigUint64(1), point: bytes.slice(9) };
    case DONE:
      if (length !== 9) break;
      return { kind: 'done', total: view.getBigUint64(1) };
    case STOP:
      if (length !== 1) break;
      return { kind: 'stop' };
  }
  throw new MillraceError('E_FRAME_FORMAT', 'the other end sent a note of an unknown format');
}
