import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RUN, scan } from '@millrace/testkit/scan';
import { listeningSockets } from '@millrace/testkit/sockets';
import { httpMessages, webSocketPayloads } from '@millrace/testkit/streams';
import { describe, expect, it } from 'vitest';

// Other tests in this folder use these searches to show that something is absent. Here they find what is present.

const design = new Uint8Array(randomBytes(100_003));
const hay = (bytes: Uint8Array) => [{ name: 'hay', bytes }];
const planted = (piece: Uint8Array, at: number, length = 60_000): Uint8Array => {
  const bytes = new Uint8Array(randomBytes(length));
  bytes.set(piece, at);
  return bytes;
};

describe('scan', () => {
  it('finds a run of 16 bytes from any offset at any offset', () => {
    for (let i = 0; i < 64; i++) {
      const offset = i < 8 ? i : Math.floor(Math.random() * (design.length - RUN));
      const at = i < 8 ? 7 - i : Math.floor(Math.random() * 50_000);
      const [found] = scan(hay(planted(design.subarray(offset, offset + RUN), at)), design);
      // The neighbouring byte may be equal by chance.
      expect((found?.at ?? 0) - (found?.offset ?? 0)).toBe(at - offset);
      expect(found?.length).toBeGreaterThanOrEqual(RUN);
    }
  });

  it('finds the last run of a design and the last of a haystack', () => {
    const last = design.subarray(design.length - RUN);
    expect(scan(hay(planted(last, 60_000 - RUN)), design)).toHaveLength(1);
  });

  it('ignores runs of 15 bytes and random data', () => {
    expect(scan(hay(planted(design.subarray(500, 500 + RUN - 1), 77)), design)).toEqual([]);
    expect(scan(hay(new Uint8Array(randomBytes(1 << 20))), design)).toEqual([]);
  });

  it('finds a run in base64, base64url and hexadecimal', () => {
    for (const skip of [0, 1, 2]) {
      const piece = Buffer.concat([randomBytes(skip), design.subarray(1_000, 1_040)]);
      for (const encoding of ['base64', 'base64url', 'hex'] as const) {
        const text = Buffer.from(`{"a":"${piece.toString(encoding)}"}`);
        expect(scan(hay(text), design).length, `${encoding} ${skip}`).toBeGreaterThan(0);
      }
    }
  });

  it('searches a repetitive design', () => {
    const dull = new Uint8Array(Buffer.from('G1 X10 Y10 E0.1\n'.repeat(5_000)));
    expect(scan(hay(Buffer.from(`..${'G1 X10 Y10 E0.1\n'.repeat(2)}`)), dull)).toHaveLength(1);
    expect(scan(hay(Buffer.from('G1 X10 Y10 G1 X10 Y10')), dull)).toEqual([]);
  });
});

describe('recorded streams', () => {
  it('are read as HTTP messages and as unmasked WebSocket messages', () => {
    const mask = Buffer.from([1, 2, 3, 4]);
    const message = Buffer.from('a message of more than one hundred and twenty-five bytes '.repeat(4));
    const masked = Buffer.from(message.map((byte, i) => byte ^ (mask[i & 3] as number)));
    const head = Buffer.from([0x82, 0x80 | 126, message.length >> 8, message.length & 0xff]);
    const stream = Buffer.concat([
      Buffer.from('PUT /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello'),
      Buffer.from('GET /b HTTP/1.1\r\nUpgrade: websocket\r\n\r\n'),
      head,
      mask,
      masked,
      Buffer.from([0x82, 2, 7, 9]),
    ]);
    const { messages } = httpMessages(stream);
    expect(messages.map(({ start }) => start)).toEqual(['PUT /a HTTP/1.1', 'GET /b HTTP/1.1']);
    expect(Buffer.from(messages[0]?.body ?? []).toString()).toBe('hello');
    expect(webSocketPayloads(stream).map((payload) => Buffer.from(payload))).toEqual([message, Buffer.from([7, 9])]);
  });
});

describe('listeningSockets', () => {
  it('lists open TCP, UDP and unix sockets of a process', async () => {
    const before = listeningSockets(process.pid);
    const tcp = createServer().listen(0, '127.0.0.1');
    const unix = createServer().listen(join(tmpdir(), `millrace-test-${process.pid}.sock`));
    const udp = createSocket('udp4').bind(0, '127.0.0.1');
    await Promise.all([once(tcp, 'listening'), once(unix, 'listening'), once(udp, 'listening')]);
    const seen = listeningSockets(process.pid);
    const { port } = tcp.address() as { port: number };
    expect(seen).toContainEqual({ protocol: 'tcp', address: `127.0.0.1:${port}` });
    expect(seen).toContainEqual({ protocol: 'udp', address: `127.0.0.1:${udp.address().port}` });
    expect(seen.filter(({ protocol }) => protocol === 'unix').length).toBeGreaterThan(0);
    await Promise.all([tcp, unix].map((server) => new Promise((resolve) => server.close(resolve))));
    await new Promise<void>((resolve) => udp.close(() => resolve()));
    expect(listeningSockets(process.pid)).toEqual(before);
  });
});
