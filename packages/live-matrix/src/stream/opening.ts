import { type Bytes, concatBytes, equalBytes, MillraceError } from '@millrace/base/core';
import { completeParameters, isIntegerIn, type MatrixParameters } from '../parameters.ts';
import { suiteById, suites } from '../suites.ts';
import { POINT_BYTES } from './agreement.ts';
import { requireCellBytes } from './cells.ts';
import { OPENING_MAC_BYTES, openingMac } from './keys.ts';

// The two messages before any key exists: the sender's hello and the receiver's answer (spec/live-matrix.md, section
// 10.2).

export const HELLO = 1;
export const ANSWER = 2;
const VERSION = 1;
/** Length of the hello before the point, bytes. */
const HELLO_HEAD = 11;
export const MAX_WINDOW = 256;

/** The sender's proposal. The receiver accepts it or ends the stream. */
export interface Hello {
  readonly parameters: Pick<MatrixParameters, 'suite' | 'order' | 'hints'>;
  /** Length of a full cell, bytes. */
  readonly cellBytes: number;
  /** Maximum number of cells ahead of the receiver's reader. */
  readonly window: number;
  readonly point: Uint8Array;
}

/** @throws {MillraceError} E_INPUT */
export function requireWindow(window: number): void {
  if (!isIntegerIn(window, 2, MAX_WINDOW)) throw new MillraceError('E_INPUT', `a window has 2 to ${MAX_WINDOW} cells`);
}

export function encodeHello(hello: Hello, secret: Uint8Array): Bytes {
  const { suite, order, hints } = hello.parameters;
  const head = new Uint8Array(HELLO_HEAD);
  const view = new DataView(head.buffer);
  head.set([HELLO, VERSION, suites[suite].id, order, hints === 'dense' ? 0 : 1]);
  view.setUint32(5, hello.cellBytes);
  view.setUint16(9, hello.window);
  const body = concatBytes(head, hello.point);
  return concatBytes(body, openingMac(secret, 'hello', body));
}

/** @throws {MillraceError} E_FRAME_FORMAT, E_STREAM_AUTH if the sender has another secret */
export function decodeHello(message: Uint8Array, secret: Uint8Array): Hello {
  const body = authentic(message, HELLO, HELLO_HEAD + POINT_BYTES, 'hello', secret);
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const suite = suiteById(view.getUint8(2))?.name;
  const [order, hints] = [view.getUint8(3), view.getUint8(4)];
  const [cellBytes, window] = [view.getUint32(5), view.getUint16(9)];
  if (view.getUint8(1) !== VERSION || suite === undefined || hints > 1 || (order !== 16 && order !== 24)) {
    throw new MillraceError('E_FRAME_FORMAT', 'the sender proposes an unknown kind of stream');
  }
  const parameters = { suite, order, hints: hints === 0 ? 'dense' : 'sparse' } as const;
  try {
    completeParameters(parameters);
    requireCellBytes(cellBytes);
    requireWindow(window);
  } catch (cause) {
    throw new MillraceError('E_FRAME_FORMAT', 'the sender proposes sizes that are not allowed', { cause });
  }
  return { parameters, cellBytes, window, point: body.slice(HELLO_HEAD) };
}

/** @param hello the message being answered; the answer is valid for this message only */
export function encodeAnswer(point: Uint8Array, hello: Uint8Array, secret: Uint8Array): Bytes {
  const body = concatBytes(new Uint8Array([ANSWER]), point);
  return concatBytes(body, openingMac(secret, 'answer', concatBytes(hello, body)));
}

/** @returns the receiver's point. @throws {MillraceError} E_FRAME_FORMAT, E_STREAM_AUTH */
export function decodeAnswer(message: Uint8Array, hello: Uint8Array, secret: Uint8Array): Uint8Array {
  return authentic(message, ANSWER, 1 + POINT_BYTES, 'answer', secret, hello).slice(1);
}

function authentic(
  message: Uint8Array,
  kind: number,
  length: number,
  label: 'hello' | 'answer',
  secret: Uint8Array,
  before: Uint8Array = new Uint8Array(),
): Uint8Array {
  if (message[0] !== kind || message.length !== length + OPENING_MAC_BYTES) {
    throw new MillraceError('E_FRAME_FORMAT', 'the other end does not speak this protocol');
  }
  const body = message.subarray(0, length);
  if (!equalBytes(openingMac(secret, label, concatBytes(before, body)), message.subarray(length))) {
    throw new MillraceError('E_STREAM_AUTH', 'the other end has another secret');
  }
  return body;
}
