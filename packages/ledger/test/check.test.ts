import type { Bytes } from '@millrace/base';
import {
  codeOf,
  MemoryStore,
  naiveRoot,
  openTestLedger,
  origin,
  request,
  signer,
  story,
  witness,
} from '@millrace/testkit/ledger/helpers';
import { beforeAll, describe, expect, test } from 'vitest';
import { encodeAccount } from '../src/account-record.ts';
import {
  type AccountHead,
  checkLedger,
  decodeOpening,
  ENTRY_LENGTH,
  type EventType,
  encodeOpening,
  formatVerifierKey,
  type Ledger,
  parseCheckpoint,
  parseNote,
  signCheckpoint,
} from '../src/index.ts';
import { accountKey, checkpointKey, encodeIndex, entryKey, eventIdKey, sequenceKey, tileKey } from '../src/keys.ts';

const logKey = formatVerifierKey(origin, signer.publicKey);
const SIZE = 600;

/** 600 entries: the example events, then a machine that reports its odometer. */
let sound: MemoryStore;
let early: Uint8Array;

beforeAll(async () => {
  sound = new MemoryStore();
  const ledger: Ledger = await openTestLedger(sound);
  await ledger.appendMany(story());
  early = ledger.checkpoint();
  await ledger.appendMany(
    Array.from({ length: SIZE - 9 }, (_, i) =>
      request('machine-1', 'machine', { eventId: `odometer-${i}`, body: { km: i } }),
    ),
  );
});

type Damage = (store: MemoryStore) => Promise<void>;

async function put(
  store: MemoryStore,
  key: Uint8Array,
  change: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array,
): Promise<void> {
  const bytes = await store.get(key);
  if (bytes === undefined) throw new Error('nothing to damage');
  await store.batch([{ put: key, value: change(Uint8Array.from(bytes)) }]);
}

function flip(at: number) {
  return (bytes: Uint8Array<ArrayBuffer>) => {
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    return bytes;
  };
}

async function first(damage: Damage) {
  const store = sound.clone();
  await damage(store);
  const report = await checkLedger({ store, logKey });
  expect(report.ok).toBe(false);
  return { problem: report.problems[0], report, store };
}

describe('a check of the whole log', () => {
  test('finds no fault in a sound log, and reports progress', async () => {
    const steps: number[] = [];
    const report = await checkLedger({ store: sound, logKey, seen: [early], onProgress: (done) => steps.push(done) });
    expect(report).toMatchObject({ ok: true, size: SIZE, entries: SIZE, accounts: 3, problems: [], more: 0 });
    expect(steps.at(-1)).toBe(SIZE);
  });

  test.each([0, 5, 300, 599])('names changed entry %i', async (index) => {
    const { problem, store } = await first((s) => put(s, entryKey(index), flip(ENTRY_LENGTH - 1)));
    expect(problem).toMatchObject({ code: 'E_LEDGER_ENTRY', part: 'entry', index });
    expect(problem?.message).toContain(`entry ${index} was changed`);
    if (index === 599) expect(await codeOf(() => openTestLedger(store))).toBe('E_LEDGER_ENTRY');
  });

  test('detects an entry that was changed together with its tile', async () => {
    const other = new MemoryStore();
    const ledger = await openTestLedger(other);
    await ledger.appendMany(story());
    await ledger.appendMany(
      Array.from({ length: SIZE - 9 }, (_, i) =>
        request('machine-1', 'machine', { eventId: `odometer-${i}`, body: { km: i === 300 ? 1 : i } }),
      ),
    );
    // A completely different history under the old checkpoint.
    await other.batch([{ put: checkpointKey, value: (await sound.get(checkpointKey)) ?? new Uint8Array(0) }]);
    const report = await checkLedger({ store: other, logKey });
    expect(report.problems[0]).toMatchObject({ code: 'E_LEDGER_ENTRY', part: 'entry' });
    expect(report.problems[0]?.message).toContain('lead to the root');
    expect(await codeOf(() => openTestLedger(other))).toBe('E_LEDGER_ENTRY');
  });

  test('names missing entries in the middle and at the end', async () => {
    const middle = await first((s) => s.batch([{ delete: entryKey(300) }]));
    expect(middle.problem).toMatchObject({ code: 'E_LEDGER_TRUNCATED', part: 'entry', index: 300 });
    expect(middle.problem?.message).toContain('entry 300 is missing');
    const end = await first(async (s) => {
      for (let i = 590; i < SIZE; i++) await s.batch([{ delete: entryKey(i) }]);
    });
    expect(end.problem).toMatchObject({ code: 'E_LEDGER_TRUNCATED', index: 590 });
    expect(end.problem?.message).toBe('entries 590 to 599 are missing: the checkpoint counts 600');
    expect(await codeOf(() => openTestLedger(end.store))).toBe('E_LEDGER_TRUNCATED');
    const all = await first(async (s) => {
      for (let i = 0; i < SIZE; i++) await s.batch([{ delete: entryKey(i) }]);
    });
    expect(all.problem).toMatchObject({ code: 'E_LEDGER_TRUNCATED', index: 0 });
  });

  test('names a tile that is missing, truncated, changed or from another log', async () => {
    const { problem: missing } = await first((s) => s.batch([{ delete: tileKey(0, 1) }]));
    expect(missing).toMatchObject({ code: 'E_LEDGER_TRUNCATED', part: 'tile', path: 'tile/0/001' });
    const { problem: tip, store } = await first((s) => s.batch([{ delete: tileKey(0, 2) }]));
    expect(tip).toMatchObject({ code: 'E_LEDGER_TRUNCATED', part: 'tile', path: 'tile/0/002.p/88' });
    expect(await codeOf(() => openTestLedger(store))).toBe('E_LEDGER_TRUNCATED');
    const { problem: short } = await first((s) => put(s, tileKey(1, 0), (b) => b.subarray(0, 32)));
    expect(short).toMatchObject({ code: 'E_LEDGER_TRUNCATED', part: 'tile', path: 'tile/1/000.p/2' });
    const { problem: changed } = await first((s) => put(s, tileKey(0, 1), flip(32 * 10)));
    expect(changed).toMatchObject({ code: 'E_LEDGER_ENTRY', part: 'tile', path: 'tile/0/001', index: 266 });
    const { problem: upper } = await first((s) => put(s, tileKey(1, 0), flip(33)));
    expect(upper).toMatchObject({ code: 'E_LEDGER_ENTRY', part: 'tile', path: 'tile/1/000.p/2' });
    expect(upper?.message).toContain('tile/0/001');
    const { problem: foreign } = await first((s) => s.batch([{ put: tileKey(2, 0), value: new Uint8Array(32) }]));
    expect(foreign).toMatchObject({ code: 'E_LEDGER_CHECKPOINT', part: 'tile' });
  });

  test('names a checkpoint that is missing, damaged, forged or old', async () => {
    const { problem: missing, store } = await first((s) => s.batch([{ delete: checkpointKey }]));
    expect(missing).toMatchObject({
      code: 'E_LEDGER_CHECKPOINT',
      part: 'checkpoint',
      message: 'the checkpoint is missing',
    });
    expect(await codeOf(() => openTestLedger(store))).toBe('E_LEDGER_CHECKPOINT');
    const { problem: damaged } = await first((s) => put(s, checkpointKey, flip(30)));
    expect(damaged).toMatchObject({ code: 'E_LEDGER_CHECKPOINT', part: 'checkpoint' });
    const honest = parseCheckpoint(parseNote((await sound.get(checkpointKey)) ?? new Uint8Array(0)).text);
    const thief = { ...witness, name: origin };
    const forged = await signCheckpoint({ ...honest, size: 10 }, thief);
    const { problem: stolen } = await first((s) => put(s, checkpointKey, () => forged));
    expect(stolen).toMatchObject({ code: 'E_LEDGER_CHECKPOINT', part: 'checkpoint' });
    expect(stolen?.message).toContain('not signed by ledger.example/one');
    const { problem: old, store: rolled } = await first((s) => put(s, checkpointKey, () => early));
    expect(old).toMatchObject({ code: 'E_LEDGER_CHECKPOINT', part: 'checkpoint' });
    expect(old?.message).toContain('older than the log');
    expect(await codeOf(() => openTestLedger(rolled))).toBe('E_LEDGER_CHECKPOINT');
    const lying = await signCheckpoint({ ...honest, root: new Uint8Array(32) }, signer);
    const { problem: lie } = await first((s) => put(s, checkpointKey, () => lying));
    expect(lie).toMatchObject({ code: 'E_LEDGER_ENTRY', part: 'entry' });
  });

  test('names an opening that is missing, damaged, of another event, or without an entry', async () => {
    const { problem: missing } = await first((s) => put(s, entryKey(300), (b) => b.subarray(0, ENTRY_LENGTH)));
    expect(missing).toMatchObject({ code: 'E_LEDGER_TRUNCATED', part: 'opening', index: 300 });
    expect(missing?.message).toBe('the opening of entry 300 is missing');
    const { problem: bent } = await first((s) => put(s, entryKey(300), flip(ENTRY_LENGTH + 40)));
    expect(bent).toMatchObject({ code: 'E_LEDGER_ENTRY', part: 'opening', index: 300 });
    const { problem: salt } = await first((s) => put(s, entryKey(5), flip(ENTRY_LENGTH)));
    expect(salt).toMatchObject({ code: 'E_LEDGER_ENTRY', part: 'opening', index: 5, account: 'object-1' });
    expect(salt?.message).toBe('the opening of entry 5 is not what the entry commits to');
    const { problem: swapped, store } = await first(async (s) => {
      const other = (await s.get(entryKey(598))) ?? new Uint8Array(0);
      await put(s, entryKey(599), (b) => Buffer.concat([b.subarray(0, ENTRY_LENGTH), other.subarray(ENTRY_LENGTH)]));
    });
    expect(swapped).toMatchObject({ code: 'E_LEDGER_ENTRY', part: 'opening', index: 599 });
    expect(await codeOf(() => openTestLedger(store))).toBe('E_LEDGER_ENTRY');
    const { problem: more } = await first((s) => s.batch([{ put: entryKey(SIZE), value: new Uint8Array(99) }]));
    expect(more?.message).toBe(
      `the checkpoint is older than the log: it counts ${SIZE} entries, and 1 more are stored`,
    );
  });

  test('names look-up tables that do not match the entries', async () => {
    const cases: [Damage, string][] = [
      [(s) => s.batch([{ delete: eventIdKey('odometer-3') }]), 'event id odometer-3 does not refer to entry 12'],
      // The last byte of the third of seven log indices.
      [
        (s) => put(s, accountKey('object-1'), (b) => flip(b.length - 4 * 7 - 1)(b)),
        'event 2 of account object-1 does not refer to entry 4',
      ],
      [(s) => put(s, accountKey('object-1'), (b) => b.subarray(0, -7)), 'the stored head of account object-1'],
      [
        (s) => s.batch([{ delete: sequenceKey('machine-1', 2) }]),
        'event 128 of account machine-1 does not refer to entry 136',
      ],
      [
        (s) => s.batch([{ put: sequenceKey('machine-1', 9), value: new Uint8Array(7 * 64) }]),
        'the table of full blocks of events lists 10, the entries hold 9',
      ],
      [(s) => put(s, accountKey('object-1'), flip(3)), 'the stored head of account object-1'],
      [(s) => s.batch([{ delete: accountKey('licence-1') }]), 'the stored head of account licence-1'],
      [(s) => s.batch([{ put: accountKey('object-9'), value: new Uint8Array(1) }]), 'the table of accounts lists 4'],
      [(s) => s.batch([{ put: eventIdKey('x'), value: new Uint8Array(8) }]), 'the table of event ids lists 601'],
    ];
    for (const [damage, message] of cases) {
      const { problem } = await first(damage);
      expect(problem).toMatchObject({ code: 'E_LEDGER_ENTRY', part: 'index' });
      expect(problem?.message).toContain(message);
    }
  });

  test('names a broken account in a correctly signed log, and continues with the other accounts', async () => {
    // The holder of the log's key can sign anything. The events must still form a valid sequence.
    const story: [account: string, sequence: number, type: EventType, previous: 'last' | 'none' | 'wrong'][] = [
      ['machine-1', 0, 'machine', 'none'],
      ['machine-2', 0, 'machine', 'none'],
      ['machine-1', 1, 'material', 'wrong'],
      ['machine-2', 1, 'material', 'last'],
      ['object-1', 0, 'ordered', 'none'],
      ['object-1', 1, 'completed', 'last'],
    ];
    const store = new MemoryStore();
    const last = new Map<string, Bytes>();
    const leaves: Bytes[] = [];
    for (const [index, [account, sequence, type, link]] of story.entries()) {
      const previous = link === 'none' ? null : link === 'last' ? (last.get(account) ?? null) : new Uint8Array(32);
      const id = `event-${index}`;
      const event = { v: 1, id, account, sequence, previous, type, time: index, actor: 'a', body: {} } as const;
      const { entry, opening, hash } = decodeOpening(encodeOpening(event, new Uint8Array(32).fill(index)), index);
      last.set(account, hash);
      leaves.push(hash);
      await store.batch([
        { put: entryKey(index), value: Buffer.concat([entry, opening]) },
        { put: eventIdKey(id), value: encodeIndex(index) },
      ]);
    }
    const record = (account: string, kind: AccountHead['kind'], state: string, recent: readonly number[]) => {
      const index = recent.at(-1) ?? 0;
      const head = { account, kind, state, sequence: recent.length - 1, index, hash: leaves[index] as Bytes };
      return { put: accountKey(account), value: encodeAccount({ head, recent }) };
    };
    await store.batch([
      record('machine-1', 'machine', 'open', [0, 2]),
      record('machine-2', 'machine', 'open', [1, 3]),
      record('object-1', 'object', 'completed', [4, 5]),
      { put: tileKey(0, 0), value: Buffer.concat(leaves) },
      {
        put: checkpointKey,
        value: await signCheckpoint({ origin, size: 6, root: naiveRoot(leaves) as Bytes }, signer),
      },
    ]);
    const report = await checkLedger({ store, logKey });
    expect(report).toMatchObject({ ok: false, entries: 6, accounts: 3, more: 0 });
    expect(report.problems).toMatchObject([
      { code: 'E_LEDGER_ENTRY', part: 'account', index: 2, account: 'machine-1' },
      { code: 'E_LEDGER_ENTRY', part: 'account', index: 5, account: 'object-1' },
    ]);
    expect(report.problems[0]?.message).toContain('does not name the hash of the event before it');
    expect(report.problems[1]?.message).toContain('completed');
  });

  test('detects a store restored to an earlier state only against a later checkpoint', async () => {
    const store = new MemoryStore();
    const ledger = await openTestLedger(store);
    await ledger.appendMany(story().slice(0, 5));
    const backup = store.clone();
    await ledger.appendMany(story().slice(5));
    const later = ledger.checkpoint();
    expect((await checkLedger({ store: backup, logKey })).ok).toBe(true);
    const report = await checkLedger({ store: backup, logKey, seen: [later] });
    expect(report.problems).toMatchObject([{ code: 'E_LEDGER_TRUNCATED', part: 'checkpoint' }]);
    const restored = await openTestLedger(backup);
    await restored.appendMany(
      story()
        .slice(5)
        .map((event) => ({ ...event, actor: 'other' })),
    );
    const forked = await restored.check({ seen: [later] });
    expect(forked.problems).toMatchObject([{ code: 'E_LEDGER_ENTRY', part: 'checkpoint' }]);
    expect(forked.problems[0]?.message).toContain('does not extend a checkpoint seen before');
  });

  test('counts the faults that it does not list, and stops when aborted', async () => {
    const { report } = await first(async (s) => {
      for (let i = 0; i < SIZE; i++) await put(s, entryKey(i), flip(0));
    });
    expect(report.problems).toHaveLength(100);
    expect(report.more).toBeGreaterThan(1000);
    await expect(checkLedger({ store: sound, logKey, signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    );
  });
});
