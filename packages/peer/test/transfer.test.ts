import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemRandom } from '@millrace/base';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  codeCaller,
  codeResponder,
  connectToPeer,
  openFileSink,
  type Peer,
  receiveFromPeer,
  sendToPeer,
} from '../src/index.ts';
import { between, code, here, inPieces, listen, meet, memorySink, random } from './helpers.ts';

const right = '471-209-8835';
const pair = async () => meet(await codeResponder(right), codeCaller(right));

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-peer-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Two ends with a proxy between them. */
async function meetThrough(
  pass: Parameters<typeof between>[1],
): Promise<{ sender: Peer; receiver: Peer; close(): void }> {
  const listening = await listen(await codeResponder(right));
  const way = await between(listening.port, pass);
  const sender = await connectToPeer({ to: here(way.port), caller: codeCaller(right) });
  return { sender, receiver: await listening.peer, close: way.close };
}

describe('a transfer', () => {
  it.each([0, 1, 16_365, 16_366, 300_000])('of %i bytes is exact, and both ends confirm it', async (length) => {
    const { sender, receiver } = await pair();
    const data = random(length);
    const sink = memorySink();
    const progress: number[] = [];
    const [sent, received] = await Promise.all([
      sendToPeer({ peer: sender, source: inPieces(data, 10_007), onProgress: (bytes) => progress.push(bytes) }),
      receiveFromPeer({ peer: receiver, sink }),
    ]);
    expect(Buffer.compare(sink.kept ?? new Uint8Array(), data)).toBe(0);
    const sha256 = createHash('sha256').update(data).digest('hex');
    expect(sent).toMatchObject({ bytes: length, sha256 });
    expect(received).toMatchObject({ bytes: length, sha256 });
    if (length > 0) expect(progress.at(-1)).toBe(length);
    expect([...sender.secret, ...receiver.secret].every((byte) => byte === 0)).toBe(true);
  });

  it('delivers data before the source ends', async () => {
    const { sender, receiver } = await pair();
    let arrived: () => void = () => undefined;
    const echo = async function* () {
      for (let i = 0; i < 5; i++) {
        const seen = new Promise<void>((resolve) => {
          arrived = resolve;
        });
        yield new TextEncoder().encode(`line ${i}\n`);
        await seen; // would wait for ever if the data arrived only at the end
      }
    };
    const sink = memorySink(async () => arrived());
    await Promise.all([sendToPeer({ peer: sender, source: echo() }), receiveFromPeer({ peer: receiver, sink })]);
    expect(new TextDecoder().decode(sink.kept)).toBe('line 0\nline 1\nline 2\nline 3\nline 4\n');
  });

  it('works with chunks of any size in transit', async () => {
    const ends = await meetThrough((piece) => piece);
    const data = random(200_000);
    const sink = memorySink();
    await Promise.all([
      sendToPeer({ peer: ends.sender, source: inPieces(data, 999) }),
      receiveFromPeer({ peer: ends.receiver, sink }),
    ]);
    expect(Buffer.compare(sink.kept ?? new Uint8Array(), data)).toBe(0);
    ends.close();
  });
});

describe('a failed transfer', () => {
  it.each(['cut', 'altered'] as const)('%s in transit: nothing is kept, both ends get an error', async (what) => {
    let bytes = 0;
    const ends = await meetThrough((piece, from) => {
      if (from === 'listener') return piece;
      bytes += piece.length;
      if (bytes < 60_000) return piece;
      if (what === 'cut') return 'cut';
      bytes = Number.NEGATIVE_INFINITY; // only once
      const copy = Buffer.from(piece);
      copy[copy.length >> 1] = (copy[copy.length >> 1] ?? 0) ^ 1;
      return copy;
    });
    const sink = memorySink();
    const sending = sendToPeer({ peer: ends.sender, source: inPieces(random(400_000), 10_000) });
    const codeOf = (error: { code?: unknown }) => error.code;
    const [sent, received] = await Promise.all([
      sending.catch(codeOf),
      receiveFromPeer({ peer: ends.receiver, sink }).catch(codeOf),
    ]);
    expect(received).toMatch(what === 'cut' ? /^E_STREAM_CUT$/ : /^E_FRAME_/);
    expect(sent).toMatch(what === 'cut' ? /^E_STREAM_CUT$/ : /^E_STREAM_(STOPPED|CUT)$/);
    expect([sink.kept, sink.discarded]).toEqual([undefined, true]);
    ends.close();
  });

  it('ends at the sender too when the receiver cannot store it', async () => {
    const { sender, receiver } = await pair();
    const sink = memorySink(() =>
      Promise.reject(Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })),
    );
    const receiving = receiveFromPeer({ peer: receiver, sink }).catch((error: unknown) => error);
    await expect(sendToPeer({ peer: sender, source: inPieces(random(900_000), 50_000) })).rejects.toEqual(
      code('E_STREAM_STOPPED'),
    );
    expect(String(await receiving)).toContain('ENOSPC');
    expect(sink.discarded).toBe(true);
  });

  it('keeps nothing at the receiver when the source fails', async () => {
    const { sender, receiver } = await pair();
    const source = async function* () {
      yield random(100);
      throw new Error('unplugged');
    };
    const sink = memorySink();
    const receiving = receiveFromPeer({ peer: receiver, sink });
    receiving.catch(() => undefined);
    await expect(sendToPeer({ peer: sender, source: source() })).rejects.toEqual(code('E_INPUT'));
    await expect(receiving).rejects.toEqual(code('E_STREAM_STOPPED'));
    expect(sink.discarded).toBe(true);
  });

  it('ends at both sides when either is aborted while the source is silent', async () => {
    for (const side of ['sender', 'receiver'] as const) {
      const { sender, receiver } = await pair();
      const controller = new AbortController();
      const silent = async function* () {
        yield random(10);
        await new Promise(() => undefined);
      };
      const stop = { signal: controller.signal };
      const sink = memorySink(async () => controller.abort());
      const sending = sendToPeer({ peer: sender, source: silent(), ...(side === 'sender' ? stop : {}) });
      sending.catch(() => undefined);
      const receiving = receiveFromPeer({ peer: receiver, sink, ...(side === 'receiver' ? stop : {}) });
      await expect(receiving).rejects.toEqual(code('E_STREAM_STOPPED'));
      await expect(sending).rejects.toEqual(code('E_STREAM_STOPPED'));
    }
  });

  it('ends when a waiting listener is aborted', async () => {
    const controller = new AbortController();
    const listening = await listen(await codeResponder(right), { signal: controller.signal });
    controller.abort();
    await expect(listening.peer).rejects.toEqual(code('E_STREAM_STOPPED'));
  });
});

describe('a file', () => {
  it('appears only when it is complete', async () => {
    const path = join(folder, 'whole');
    const sink = await openFileSink(path, false, systemRandom);
    await sink.write(random(10));
    expect(await readdir(folder)).toEqual([expect.stringMatching(/^\.whole\.[0-9a-f]{12}\.part$/)]);
    await sink.commit();
    expect(await readdir(folder)).toEqual(['whole']);
    expect(await readFile(path)).toHaveLength(10);
  });

  it('is removed when it is incomplete', async () => {
    const before = await readdir(folder);
    const sink = await openFileSink(join(folder, 'part'), false, systemRandom);
    await sink.write(random(10));
    await sink.discard();
    expect(await readdir(folder)).toEqual(before);
  });

  it('is replaced only when requested', async () => {
    const path = join(folder, 'mine');
    await writeFile(path, 'mine');
    await expect(openFileSink(path, false, systemRandom)).rejects.toEqual(code('E_CONFLICT'));
    const sink = await openFileSink(path, true, systemRandom);
    await sink.write(new TextEncoder().encode('yours'));
    expect(await readFile(path, 'utf8')).toBe('mine');
    await sink.commit();
    expect(await readFile(path, 'utf8')).toBe('yours');
    // Another process created the file meanwhile.
    const late = await openFileSink(join(folder, 'late'), false, systemRandom);
    await writeFile(join(folder, 'late'), 'theirs');
    await expect(late.commit()).rejects.toEqual(code('E_CONFLICT'));
    await late.discard();
    expect(await readFile(join(folder, 'late'), 'utf8')).toBe('theirs');
  });

  it('cannot be a folder or be in a missing folder; a device is written directly', async () => {
    await expect(openFileSink(folder, true, systemRandom)).rejects.toEqual(code('E_INPUT'));
    await expect(openFileSink(join(folder, 'no', 'folder'), true, systemRandom)).rejects.toEqual(code('E_INPUT'));
    const device = await openFileSink('/dev/null', false, systemRandom);
    await device.write(random(5));
    await device.commit();
  });
});
