import { connect, createServer, type Socket } from 'node:net';
import { type Closable, systemClock } from '@millrace/base';
import type { UserSession } from '@millrace/cli';
import { createApi } from '@millrace/client';
import { connectNodes } from '@millrace/client/node';
import type { Address } from '@millrace/protocol';
import { millrace } from '@millrace/testkit/cli';
import { randomDesign } from '@millrace/testkit/designs';
import { store } from '@millrace/testkit/job';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';

// The owner's connections are cut at any byte, in either direction: in a handshake, a header, a segment, an answer.

const SEGMENTS = 8;
/** More bytes than one upload sends, handshakes included. */
const BYTES = 260_000;
/** The cuts in one upload, with 8 connections at a time. The client retries long enough for all of them. */
const MAX_CUTS = 10;

let system: TestInstallation;
let owner: UserSession;
beforeAll(async () => {
  system = await createTestInstallation({ maintenance: { periodMs: 2_000, density: 50 } });
  owner = await system.session('owner');
});
afterAll(() => system?.close());

interface Cutter extends Closable {
  readonly address: Address;
  /** The number of cuts so far. */
  readonly cuts: number;
}

/** Forwards bytes, and cuts the connection within a chunk whenever the total reaches the next position. */
async function createCutter(target: Address, after: readonly number[]): Promise<Cutter> {
  const waiting = [...after];
  let left = waiting.shift();
  let cuts = 0;
  const open = new Set<Socket>();
  const server = createServer((inner) => {
    const outer = connect(target.port, target.host);
    const both = [inner, outer] as const;
    const end = () => {
      for (const socket of both) {
        open.delete(socket);
        socket.destroy();
      }
    };
    const pass = (from: Socket, to: Socket) => {
      open.add(from);
      from.on('error', () => undefined); // 'close' follows
      from.on('close', end);
      from.on('data', (chunk: Buffer) => {
        if (left === undefined || chunk.length < left) {
          if (left !== undefined) left -= chunk.length;
          to.write(chunk);
          return;
        }
        to.write(chunk.subarray(0, left), end);
        from.pause();
        left = waiting.shift();
        cuts++;
      });
    };
    pass(inner, outer);
    pass(outer, inner);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('no address');
  return {
    address: { host: '127.0.0.1', port: bound.port },
    get cuts() {
      return cuts;
    },
    close: () => {
      for (const socket of open) socket.destroy();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const cuts = fc.array(fc.integer({ min: 1, max: BYTES / 4 }), { minLength: 1, maxLength: MAX_CUTS });

it('an upload that is interrupted at arbitrary bytes ends as one sound design', { timeout: 600_000 }, async () => {
  const before = (await owner.api.designs()).length;
  let [runs, happened] = [0, 0];
  await fc.assert(
    fc.asyncProperty(cuts, cuts, async (controlCuts, distributionCuts) => {
      const control = await createCutter(system.addresses.control, controlCuts);
      const distribution = await createCutter(system.addresses.distribution, distributionCuts);
      const addresses = { control: control.address, distribution: distribution.address };
      const { directory, user } = owner;
      const api = createApi({ transports: connectNodes({ directory, addresses, user }), clock: systemClock });
      try {
        const options = { name: `cut ${runs}.bin`, kind: 'binary', bytesPerSecond: 100_000 } as const;
        const view = await store(system, { ...owner, api }, randomDesign(SEGMENTS * 16_370), options);
        expect(view).toMatchObject({ state: 'stored', segments: SEGMENTS });
        runs++;
        happened += control.cuts + distribution.cuts;
      } finally {
        api.close();
        await control.close();
        await distribution.close();
      }
    }),
    { numRuns: 20, endOnFailure: true },
  );
  expect(happened).toBeGreaterThan(2 * runs);
  const designs = (await owner.api.designs()).slice(before);
  expect(designs).toHaveLength(runs);
  for (const { state } of designs) expect(state).toBe('stored');
  const check = await millrace(system.home, 'vault', 'check', '--deep', '--json');
  expect(check.json?.problems, check.stderr).toEqual([]);
});
