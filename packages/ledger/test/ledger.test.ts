import { MillraceError } from '@millrace/base';
import {
  codeOf,
  MemoryStore,
  naiveRoot,
  openTestLedger,
  origin,
  request,
  signer,
  stepClock,
  story,
  storyLedger,
  witness,
} from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Appended,
  decodeBundle,
  ENTRY_LENGTH,
  formatTlogProof,
  formatVerifierKey,
  type LedgerStore,
  leafHash,
  openCheckpoint,
  openLedger,
  parseTlogProof,
  parseVerifierKey,
  type StoreWrite,
  verifyConsistency,
  verifyInclusion,
} from '../src/index.ts';
import { entryKey } from '../src/keys.ts';

const logKey = parseVerifierKey(formatVerifierKey(origin, signer.publicKey));

describe('the ledger', () => {
  test('begins with a signed empty tree', async () => {
    const ledger = await openTestLedger(new MemoryStore());
    expect(ledger.size).toBe(0);
    expect(openCheckpoint(ledger.checkpoint(), { logKey })).toMatchObject({ size: 0, root: naiveRoot([]) });
    expect(await ledger.accounts()).toEqual([]);
    expect(await codeOf(() => ledger.entry(0))).toBe('E_NOT_FOUND');
    expect((await ledger.check()).ok).toBe(true);
  });

  test('records events in order, each under a checkpoint, with proofs that verify', async () => {
    const ledger = await openTestLedger(new MemoryStore());
    const results: Appended[] = [];
    for (const event of story()) results.push(await ledger.append(event));
    expect(results.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    const leaves = results.map(({ hash }) => hash);
    for (const { index, checkpoint, entry, hash, event, opening } of results) {
      const opened = openCheckpoint(checkpoint, { logKey });
      expect(opened).toMatchObject({ size: index + 1, root: naiveRoot(leaves.slice(0, index + 1)) });
      expect(hash).toEqual(leafHash(entry));
      expect(await ledger.entry(index)).toEqual({ index, entry, hash, event, opening });
      const root = naiveRoot(leaves);
      expect(verifyInclusion(hash, index, 9, await ledger.proveInclusion(index), root)).toBe(true);
      expect(
        verifyConsistency(index, 9, await ledger.proveConsistency(index), naiveRoot(leaves.slice(0, index)), root),
      ).toBe(true);
    }
    const events = await ledger.account('object-1');
    expect(events.map(({ event }) => event.type)).toEqual([
      'ordered',
      'licensed',
      'permitted',
      'started',
      'progressed',
      'completed',
      'inspected',
    ]);
    expect(events.map(({ event }) => event.sequence)).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(events.map(({ event }) => event.previous)).toEqual([null, ...events.slice(0, -1).map(({ hash }) => hash)]);
    expect(events[4]?.event.body).toEqual({ layer: 3, grams: { used: 12, lots: ['a', 'b'] } });
    expect(await ledger.account('object')).toEqual([]);
    expect((await ledger.accounts()).map(({ account, kind, state }) => [account, kind, state])).toEqual([
      ['licence-1', 'licence', 'open'],
      ['machine-1', 'machine', 'open'],
      ['object-1', 'object', 'completed'],
    ]);
    expect((await ledger.accounts('obj')).map(({ account }) => account)).toEqual(['object-1']);
    expect((await ledger.find('object-1/started'))?.index).toBe(5);
    expect(await ledger.find('object-1')).toBeUndefined();
    expect(await ledger.check()).toMatchObject({ ok: true, size: 9, entries: 9, accounts: 3, problems: [] });
  });

  test('returns the first result for a repeated event id; rejects other content as a conflict', async () => {
    const ledger = await storyLedger();
    const [first] = story();
    if (first === undefined) throw new Error('no story');
    const again = await ledger.append(first);
    expect(again.index).toBe(0);
    expect(ledger.size).toBe(9);
    expect(openCheckpoint(again.checkpoint, { logKey }).size).toBe(9);
    for (const other of [
      { ...first, actor: 'someone' },
      { ...first, body: {} },
      { ...first, type: 'material' as const },
      { ...first, account: 'machine-2' },
      { ...first, evidence: [Uint8Array.of(1)] },
    ]) {
      expect(await codeOf(() => ledger.append(other))).toBe('E_CONFLICT');
    }
    const same = await Promise.all([1, 2, 3].map(() => ledger.append(request('machine-9', 'machine'))));
    expect(same.map(({ index }) => index)).toEqual([9, 9, 9]);
    expect(ledger.size).toBe(10);
  });

  test('appends a group of events atomically', async () => {
    const ledger = await openTestLedger(new MemoryStore());
    const bad = [...story(), request('object-1', 'completed', { eventId: 'again' })];
    expect(await codeOf(() => ledger.appendMany(bad))).toBe('E_STATE');
    expect(ledger.size).toBe(0);
    expect(await ledger.accounts()).toEqual([]);
    expect((await ledger.appendMany(story())).map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(await ledger.appendMany([])).toEqual([]);
    expect(await codeOf(() => ledger.appendMany(Array.from({ length: 1025 }, () => request('m', 'machine'))))).toBe(
      'E_TOO_LARGE',
    );
    expect((await ledger.check()).ok).toBe(true);
  });

  test('batches waiting appends; a rejected append does not affect the others', async () => {
    const store = new MemoryStore();
    const ledger = await openTestLedger(store);
    const before = store.batches;
    const results = await Promise.allSettled([
      ...Array.from({ length: 200 }, (_, i) => ledger.append(request(`machine-${i}`, 'machine'))),
      ledger.append(request('object-1', 'completed')),
      ledger.append(request('machine-7', 'retired')),
    ]);
    expect(store.batches - before).toBe(1);
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(201);
    expect(results[200]).toMatchObject({ status: 'rejected', reason: { code: 'E_STATE' } });
    expect(ledger.size).toBe(201);
    expect((await ledger.check()).ok).toBe(true);
  });

  test('assigns each sequence number of an account once under concurrent appends', async () => {
    const ledger = await openTestLedger(new MemoryStore());
    await ledger.append(request('machine-1', 'machine'));
    await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        for (let turn = 0; turn < i % 4; turn++) await Promise.resolve();
        return ledger.append(request('machine-1', 'material', { eventId: `m${i}` }));
      }),
    );
    const events = await ledger.account('machine-1');
    expect(events.map(({ event }) => event.sequence)).toEqual(Array.from({ length: 51 }, (_, i) => i));
    expect((await ledger.check()).ok).toBe(true);
  });

  test('rejects invalid input before it changes anything', async () => {
    const ledger = await openTestLedger(new MemoryStore());
    const good = request('machine-1', 'machine');
    for (const wrong of [
      { ...good, extra: 1 },
      { ...good, eventId: '' },
      { ...good, body: { a: 0.5 } },
      { ...good, evidence: [] },
    ]) {
      expect(await codeOf(() => ledger.append(wrong))).toBe('E_INPUT');
    }
    expect(await codeOf(() => ledger.append({ ...good, body: { a: new Uint8Array(65_600) } }))).toBe('E_TOO_LARGE');
    expect(ledger.size).toBe(0);
    for (const run of [
      () => ledger.proveInclusion(0),
      () => ledger.proveInclusion(0, 1),
      () => ledger.proveConsistency(1),
      () => ledger.proveConsistency(0, -1),
    ]) {
      expect(await codeOf(run)).toBe('E_INPUT');
    }
    await ledger.close();
    expect(await codeOf(() => ledger.append(good))).toBe('E_UNAVAILABLE');
  });

  test('rejects a log key whose name is not the origin', async () => {
    const options = { store: new MemoryStore(), signer, origin: 'other.example', clock: stepClock() };
    expect(await codeOf(() => openLedger(options))).toBe('E_CONFIG');
  });

  test('serves the tiles and entry bundles of its size, and no others', async () => {
    const ledger = await openTestLedger(new MemoryStore());
    await ledger.appendMany(Array.from({ length: 300 }, (_, i) => request(`machine-${i}`, 'machine')));
    expect((await ledger.tile('tile/0/000')).length).toBe(256 * 32);
    expect((await ledger.tile('tile/0/001.p/44')).length).toBe(44 * 32);
    expect((await ledger.tile('tile/0/001.p/7')).length).toBe(7 * 32);
    expect((await ledger.tile('tile/1/000.p/1')).length).toBe(32);
    const bundle = decodeBundle(await ledger.tile('tile/entries/001.p/44'));
    expect(bundle).toHaveLength(44);
    const tile = await ledger.tile('tile/0/001.p/44');
    expect(bundle.map(leafHash)).toEqual(Array.from({ length: 44 }, (_, i) => tile.subarray(i * 32, i * 32 + 32)));
    for (const path of [
      'tile/0/001',
      'tile/0/001.p/45',
      'tile/0/002.p/1',
      'tile/1/000',
      'tile/2/000.p/1',
      'tile/entries/001',
    ]) {
      expect(await codeOf(() => ledger.tile(path))).toBe('E_NOT_FOUND');
    }
    for (const path of [
      'checkpoint',
      'tile/0/0',
      'tile/0/000.p/0',
      'tile/00/000',
      'tile/64/000',
      '/tile/0/000',
      'tile/0/x000/000',
      'tile/0/000.p/256',
    ]) {
      expect(await codeOf(() => ledger.tile(path))).toBe('E_NOT_FOUND');
    }
  });

  test('the public part of an event reveals nothing of its content', async () => {
    const store = new MemoryStore();
    const ledger = await openTestLedger(store);
    await ledger.appendMany(story());
    const bundle = await ledger.tile('tile/entries/000.p/9');
    expect(decodeBundle(bundle).map((entry) => [entry.length, entry[0]])).toEqual(Array(9).fill([ENTRY_LENGTH, 1]));
    const shown = Buffer.concat([bundle, await ledger.tile('tile/0/000.p/9'), ledger.checkpoint()]).toString('latin1');
    for (const { account, actor, type, eventId } of story())
      for (const text of [account, actor, type, eventId]) expect(shown).not.toContain(text);
    // Openings have their own keys, and appear in nothing that is served.
    for (const { opening, event } of await ledger.account('object-1')) {
      const record = await store.get(entryKey((await ledger.find(event.id))?.index ?? -1));
      expect(record?.subarray(ENTRY_LENGTH)).toEqual(opening);
      expect(shown).not.toContain(Buffer.from(opening.subarray(0, 32)).toString('latin1'));
    }
  });

  test('the same event in two logs has two salts and unlinkable entries', async () => {
    const logs = await Promise.all([storyLedger(), storyLedger()]);
    const events = await Promise.all(logs.map((ledger) => ledger.entry(0)));
    expect(events[0]?.event).toEqual(events[1]?.event);
    expect(events[0]?.entry).not.toEqual(events[1]?.entry);
    expect(events[0]?.hash).not.toEqual(events[1]?.hash);
    const salts = new Set<string>();
    for (const ledger of logs)
      for await (const { opening } of ledger.events(0)) salts.add(Buffer.from(opening.subarray(0, 32)).toString('hex'));
    expect(salts.size).toBe(18);
  });

  test('finds the entry when an append is retried after a lost answer, whatever its salt', async () => {
    const store = new MortalStore();
    const ledger = await openTestLedger(store);
    const event = request('machine-1', 'machine');
    store.plan = 'after';
    expect(await codeOf(() => ledger.append(event))).toBe('E_STORE');
    store.plan = 'live';
    const kept = (await store.get(entryKey(0)))?.subarray(ENTRY_LENGTH);
    expect((await ledger.append(event)).opening).toEqual(kept);
    expect(ledger.size).toBe(1);
  });

  test('a proof round-trips through the tlog-proof text format', async () => {
    const ledger = await storyLedger();
    const proof = { index: 4, hashes: await ledger.proveInclusion(4), checkpoint: ledger.checkpoint() };
    const text = formatTlogProof(proof);
    expect(new TextDecoder().decode(text)).toMatch(
      /^c2sp\.org\/tlog-proof@v1\nindex 4\n(?:[A-Za-z0-9+/=]{44}\n){4}\nledger\.example\/one\n9\n/,
    );
    expect(parseTlogProof(text)).toEqual(proof);
    for (const wrong of [text.subarray(1), new Uint8Array(0), Uint8Array.of(0xff)]) {
      expect(await codeOf(() => parseTlogProof(wrong))).toBe('E_LEDGER_PROOF');
    }
  });
});

/** Aborts before or after a chosen batch is applied, and leaves the state that a killed process would leave. */
class MortalStore extends MemoryStore {
  plan: 'live' | 'before' | 'after' = 'live';

  override async batch(writes: readonly StoreWrite[]): Promise<void> {
    if (this.plan === 'before') throw new MillraceError('E_STORE', 'killed before the batch');
    await super.batch(writes);
    if (this.plan === 'after') throw new MillraceError('E_STORE', 'killed after the batch');
  }
}

test('a ledger that another process has opened rejects appends; the new one continues', async () => {
  const store = new MemoryStore();
  const first = await openTestLedger(store);
  await first.append(request('machine-1', 'machine', { eventId: 'one' }));
  const second = await openTestLedger(store);
  const next = request('machine-2', 'machine', { eventId: 'two' });
  expect(await codeOf(() => first.append(next))).toBe('E_FENCED');
  expect(second.size).toBe(1);
  await second.append(next);
  expect(second.size).toBe(2);
  expect((await (await openTestLedger(store)).check()).ok).toBe(true);
});

describe('a ledger whose process is killed', () => {
  test('reopens with all or nothing of the batch; repeated requests complete it', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('live', 'before', 'after'), { minLength: 9, maxLength: 9 }),
        fc.boolean(),
        async (plans, reopen) => {
          const store = new MortalStore();
          let ledger = await openTestLedger(store);
          for (const [i, event] of story().entries()) {
            store.plan = plans[i] ?? 'live';
            const outcome = ledger.append(event);
            if (store.plan === 'live') await outcome;
            else await expect(outcome).rejects.toMatchObject({ code: 'E_STORE' });
            const applied = store.plan !== 'before';
            store.plan = 'live';
            if (reopen) ledger = await openTestLedger(store);
            expect((await ledger.check()).ok).toBe(true);
            const again = await ledger.append(event);
            expect(again.index).toBe(i);
            if (applied) expect(again.event.time).toBe((await ledger.entry(i)).event.time);
          }
          expect(ledger.size).toBe(9);
          expect(openCheckpoint(ledger.checkpoint(), { logKey }).size).toBe(9);
          expect((await ledger.check()).ok).toBe(true);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('changes nothing when the signer fails', async () => {
    const store = new MemoryStore();
    let failing = false;
    const moody = {
      ...signer,
      sign: (bytes: Uint8Array) => {
        if (failing) throw new MillraceError('E_UNAVAILABLE', 'no token');
        return signer.sign(bytes);
      },
    };
    const ledger = await openLedger({ store, signer: moody, origin, clock: stepClock() });
    failing = true;
    const before = store.clone();
    expect(await codeOf(() => ledger.append(request('machine-1', 'machine')))).toBe('E_UNAVAILABLE');
    expect(store.map).toEqual(before.map);
    failing = false;
    expect((await ledger.append(request('machine-1', 'machine'))).index).toBe(0);
  });

  test('continues after it is reopened', async () => {
    const store: LedgerStore = new MemoryStore();
    for (const size of [1, 255, 256, 257, 600]) {
      const ledger = await openTestLedger(store);
      await ledger.appendMany(
        Array.from({ length: size - ledger.size }, (_, i) => request(`machine-${ledger.size + i}`, 'machine')),
      );
      expect(ledger.size).toBe(size);
      expect((await ledger.check()).ok).toBe(true);
    }
  });

  test('does not open with another key', async () => {
    const store = new MemoryStore();
    await storyLedger(store);
    const thief = { ...witness, name: origin };
    expect(await codeOf(() => openLedger({ store, signer: thief, origin, clock: stepClock() }))).toBe(
      'E_LEDGER_CHECKPOINT',
    );
  });
});
