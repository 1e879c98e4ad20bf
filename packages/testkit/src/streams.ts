import { decodeLink } from '@millrace/protocol';
import type { Recording } from './recording.ts';

/** End of the head of an HTTP message. */
const HEAD_END = Buffer.from('\r\n\r\n');

export interface HttpMessage {
  /** First line: "PUT /v1/… HTTP/1.1" or "HTTP/1.1 200 OK". */
  readonly start: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

/** Length of a sealed segment, bytes. */
const SEALED_BYTES = 16_386;

/** HTTP messages of one direction of a recorded connection, up to an upgrade or the end of the recording. */
export function httpMessages(bytes: Uint8Array): { messages: HttpMessage[]; rest: Uint8Array } {
  const messages: HttpMessage[] = [];
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  while (at < buffer.length) {
    const end = buffer.indexOf(HEAD_END, at);
    if (end < 0) break;
    const [start = '', ...lines] = buffer.toString('latin1', at, end).split('\r\n');
    const headers = new Map(
      lines.map((line) => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
      }),
    );
    const body = end + HEAD_END.length;
    if (/^HTTP\/1\.1 101 /.test(start) || headers.get('upgrade') === 'websocket') {
      messages.push({ start, headers, body: new Uint8Array() });
      return { messages, rest: bytes.subarray(body) };
    }
    const length = Number(headers.get('content-length') ?? 0);
    messages.push({ start, headers, body: bytes.subarray(body, body + length) });
    at = body + length;
  }
  return { messages, rest: new Uint8Array() };
}

/**
 * Payloads of the WebSocket messages of one direction, unmasked (RFC 6455, 5.2), without pings. Empty if the connection
 * was not a WebSocket.
 */
export function webSocketPayloads(bytes: Uint8Array): Uint8Array[] {
  const { rest } = httpMessages(bytes);
  const payloads: Uint8Array[] = [];
  const view = new DataView(rest.buffer, rest.byteOffset, rest.length);
  let at = 0;
  while (at + 2 <= rest.length) {
    const control = (view.getUint8(at) & 0x08) !== 0;
    const masked = (view.getUint8(at + 1) & 0x80) !== 0;
    let length = view.getUint8(at + 1) & 0x7f;
    let head = 2;
    if (length === 126) {
      if (at + 4 > rest.length) break;
      length = view.getUint16(at + 2);
      head = 4;
    } else if (length === 127) {
      if (at + 10 > rest.length) break;
      length = Number(view.getBigUint64(at + 2));
      head = 10;
    }
    const mask = masked ? rest.subarray(at + head, at + head + 4) : undefined;
    head += masked ? 4 : 0;
    if (at + head + length > rest.length) break; // the recording ends within a message
    const payload = rest.slice(at + head, at + head + length);
    if (mask !== undefined)
      for (let i = 0; i < payload.length; i++) payload[i] = (payload[i] as number) ^ (mask[i & 3] as number);
    if (!control) payloads.push(payload);
    at += head + length;
  }
  return payloads;
}

/** Frames on the machine's link, in order. */
export const recordedFrames = (recordings: readonly Recording[]): Uint8Array[] =>
  recordings
    .filter(({ role }) => role === 'machine')
    .flatMap(({ down }) => webSocketPayloads(down))
    .flatMap((message) => {
      const link = decodeLink(message, false);
      return link.kind === 'frame' ? [link.payload] : [];
    });

/** Sealed segments, 16,386 bytes each, that were uploaded on one direction of a recorded connection. */
export function uploadedSegments(bytes: Uint8Array): Uint8Array[] {
  return httpMessages(bytes)
    .messages.filter(({ start }) => start.startsWith('PUT /v1/uploads/'))
    .flatMap(({ body }) => {
      const segments: Uint8Array[] = [];
      for (let at = 0; at < body.length; at += SEALED_BYTES) segments.push(body.subarray(at, at + SEALED_BYTES));
      return segments;
    });
}
