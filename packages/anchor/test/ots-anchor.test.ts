import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { concatBytes, fromHex, toHex, utf8 } from '@millrace/base';
import { sha256 } from '@noble/hashes/sha2.js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkpointDigest, OpenTimestampsAnchor } from '../src/index.ts';
import { attestationsOf, decodeTimestampFile, encodeTimestamp, type Timestamp } from '../src/parts.ts';

const checkpoint = { origin: 'ledger.example/one', size: 42, root: new Uint8Array(32).fill(7) };
const TEST_NETWORK = 1n << 255n;
const HEIGHT = 900_000;

/** A correct calendar: accepts digests, and has each in a block after `mine` was called. */
class Calendar {
  readonly taken: string[] = [];
  readonly #server: Server;
  readonly #blocks = new Map<string, Timestamp>();
  url = new URL('http://127.0.0.1');
  fault: 'away' | 'nonsense' | undefined;

  constructor() {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const [status, body] = this.#answer(request.url ?? '', Buffer.concat(chunks));
        response.writeHead(status).end(body);
      });
    });
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
    return this;
  }

  close(): Promise<unknown> {
    this.#server.closeAllConnections();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  /** Puts a digest into a block of one transaction. Returns the block's header. */
  mine(digest: string, time: number): Uint8Array {
    const salt = utf8('a transaction around it');
    const appended = concatBytes(fromHex(digest), salt);
    const root = Uint8Array.from(sha256(appended));
    this.#blocks.set(digest, {
      message: fromHex(digest),
      attestations: [],
      branches: [
        {
          operation: { tag: 0xf0, argument: salt },
          result: {
            message: appended,
            attestations: [],
            branches: [
              {
                operation: { tag: 0x08 },
                result: { message: root, attestations: [{ type: 'bitcoin', height: HEIGHT }], branches: [] },
              },
            ],
          },
        },
      ],
    });
    return mineHeader(root, time);
  }

  #answer(url: string, body: Uint8Array): [number, Uint8Array | string] {
    if (this.fault === 'away') return [503, ''];
    if (this.fault === 'nonsense') return [200, 'no timestamp'];
    if (url === '/digest') {
      const digest = toHex(body);
      this.taken.push(digest);
      const attestations = [{ type: 'pending', calendar: this.url.origin }] as const;
      return [200, encodeTimestamp({ message: Uint8Array.from(body), attestations, branches: [] })];
    }
    const block = this.#blocks.get(url.replace('/timestamp/', ''));
    return block === undefined ? [404, 'Pending confirmation'] : [200, encodeTimestamp(block)];
  }
}

/** A header with the work of a test network: two attempts on average. */
function mineHeader(merkleRoot: Uint8Array, time: number): Uint8Array {
  const header = concatBytes(new Uint8Array(36), merkleRoot, new Uint8Array(12));
  const view = new DataView(header.buffer);
  view.setUint32(68, time, true);
  view.setUint32(72, 0x207f_ffff, true);
  for (let nonce = 0; ; nonce++) {
    view.setUint32(76, nonce, true);
    if ((sha256(sha256(header))[31] ?? 0) < 0x7f) return header;
  }
}

describe('OpenTimestampsAnchor', () => {
  let calendars: Calendar[];
  let headers: Map<number, Uint8Array>;
  beforeEach(async () => {
    calendars = await Promise.all([new Calendar().listen(), new Calendar().listen()]);
    headers = new Map();
  });
  afterEach(() => Promise.all(calendars.map((calendar) => calendar.close())));

  const anchorOf = (quorum = 1) =>
    new OpenTimestampsAnchor({
      calendars: calendars.map(({ url }) => url),
      quorum,
      easiestTarget: TEST_NETWORK,
      retryMs: 0,
      headers: async (height) => headers.get(height) ?? new Uint8Array(80),
    });

  it('brings a checkpoint through two calendars into a block', async () => {
    const anchor = anchorOf(2);
    const proof = await anchor.submit(checkpoint);
    await expect(anchor.verify(proof, checkpoint)).rejects.toMatchObject({
      code: 'E_ANCHOR',
      message: 'the timestamp is not in a block yet',
    });
    expect((await anchor.upgrade(proof, checkpoint)).bytes).toEqual(proof.bytes); // nothing is new

    const digest = calendars[0]?.taken[0] ?? '';
    headers.set(HEIGHT, calendars[0]?.mine(digest, 1_800_000_000) ?? new Uint8Array());
    const complete = await anchor.upgrade(proof, checkpoint);
    expect(await anchor.verify(complete, checkpoint)).toMatchObject({
      kind: 'opentimestamps',
      time: 1_800_000_000_000,
      place: expect.stringContaining(`Bitcoin block ${HEIGHT}`),
    });
  });

  it('does not show the digest to calendars', async () => {
    const proof = await anchorOf().submit(checkpoint);
    const digest = toHex(checkpointDigest(checkpoint));
    expect(toHex(decodeTimestampFile(proof.bytes).message)).toBe(digest);
    expect(calendars.flatMap(({ taken }) => taken)).not.toContain(digest);
  });

  it('accepts a quorum, and reports how many calendars are missing', async () => {
    const [first] = calendars;
    if (first) first.fault = 'away';
    const proof = await anchorOf(1).submit(checkpoint);
    expect([...attestationsOf(decodeTimestampFile(proof.bytes))]).toHaveLength(1);
    await expect(anchorOf(2).submit(checkpoint)).rejects.toMatchObject({
      code: 'E_UNAVAILABLE',
      message: '1 of 2 calendars took the digest',
    });
  });

  it('rejects a block without the digest, and one without work', async () => {
    const anchor = anchorOf();
    const proof = await anchor.submit(checkpoint);
    calendars[0]?.mine(calendars[0].taken[0] ?? '', 1_800_000_000);
    const complete = await anchor.upgrade(proof, checkpoint);
    headers.set(HEIGHT, mineHeader(new Uint8Array(32).fill(9), 1_700_000_000));
    await expect(anchor.verify(complete, checkpoint)).rejects.toThrow('does not hold the timestamp');
    headers.delete(HEIGHT);
    await expect(anchor.verify(complete, checkpoint)).rejects.toMatchObject({ code: 'E_ANCHOR' });
  });

  it('rejects the proof of another checkpoint', async () => {
    const anchor = anchorOf();
    const proof = await anchor.submit(checkpoint);
    const rewritten = { ...checkpoint, root: new Uint8Array(32).fill(8) };
    await expect(anchor.verify(proof, rewritten)).rejects.toThrow('of another checkpoint');
    await expect(anchor.upgrade(proof, rewritten)).rejects.toThrow('of another checkpoint');
  });

  it('never contacts a calendar that only the proof names', async () => {
    const foreign = await new Calendar().listen();
    calendars.push(foreign);
    const proof = await anchorOf().submit(checkpoint);
    calendars.pop();
    foreign.mine(foreign.taken[0] ?? '', 1_800_000_000);
    const upgraded = await anchorOf().upgrade(proof, checkpoint);
    await foreign.close();
    expect(upgraded.bytes).toEqual(proof.bytes);
  });

  it('rejects an invalid answer of a calendar', async () => {
    for (const calendar of calendars) calendar.fault = 'nonsense';
    await expect(anchorOf().submit(checkpoint)).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
  });
});
