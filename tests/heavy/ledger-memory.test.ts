import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { sleep, systemClock } from '@millrace/base';
import { checkLedger, type LedgerStore, MAX_BATCH, openLedger } from '@millrace/ledger';
import { openLmdb } from '@millrace/stores';
import { origin, request, signer } from '@millrace/testkit/ledger/helpers';
import { afterAll, beforeAll, expect, it } from 'vitest';

// A check of the whole log keeps nothing of a sound entry, so its memory does not grow with the log. Here each event
// has its own account, so a table of accounts or events in memory would grow by tens of MiB.

const ENTRIES = 100 * MAX_BATCH;
const ROOM = 12 * 2 ** 20;
/** Store reads between two heap measurements. */
const STRIDE = 10_000;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-ledger-'));
});
afterAll(() => rm(folder, { recursive: true, force: true, maxRetries: 3 }));

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

it(`needs no more memory at the end of ${ENTRIES.toLocaleString('en')} entries than at the beginning`, async () => {
  const lmdb = openLmdb({ path: folder });
  const log = lmdb.log('ledger');
  const ledger = await openLedger({ store: log, signer, origin, clock: systemClock });
  for (let done = 0; done < ENTRIES; done += MAX_BATCH)
    await ledger.appendMany(Array.from({ length: MAX_BATCH }, (_, i) => request(`machine-${done + i}`, 'machine')));
  const held: number[] = [];
  let reads = 0;
  const store: LedgerStore = {
    range: (options) => log.range(options),
    acquire: () => log.acquire(),
    getMany: (keys) => log.getMany(keys),
    get: async (key) => {
      if (reads++ % STRIDE === 0) {
        collect();
        await sleep(50); // buffers are released on another thread
        collect();
        const { heapUsed, arrayBuffers } = process.memoryUsage();
        held.push(heapUsed + arrayBuffers);
      }
      return log.get(key);
    },
  };
  const report = await checkLedger({ store, logKey: ledger.logKey });
  expect(report).toMatchObject({ ok: true, entries: ENTRIES, accounts: ENTRIES, problems: [] });
  expect(held.length).toBeGreaterThan(20);
  expect(Math.max(...held) - (held[1] ?? 0)).toBeLessThan(ROOM);
  await ledger.close();
  await lmdb.close();
}, 900_000);
