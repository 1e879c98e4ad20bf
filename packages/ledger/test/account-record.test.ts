import { codeOf, MemoryStore, openTestLedger, request } from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BLOCK_EVENTS, decodeAccount, encodeAccount, indexOfEvent, readAccount } from '../src/account-record.ts';

describe('account records', () => {
  test('list every event of an account, however its events are batched', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ count: fc.integer({ min: 1, max: 150 }), others: fc.boolean() }), {
          minLength: 1,
          maxLength: 4,
        }),
        async (steps) => {
          const store = new MemoryStore();
          const ledger = await openTestLedger(store);
          const expected: number[] = [];
          let next = 0;
          for (const [step, { count, others }] of steps.entries()) {
            if (others) await ledger.append(request(`spool-${step}`, 'material'));
            const requests = Array.from({ length: count }, () =>
              request('machine-1', 'machine', { eventId: `event-${next++}` }),
            );
            for (const { index } of await ledger.appendMany(requests)) expected.push(index);
          }
          const events = await ledger.account('machine-1');
          expect(events.map(({ index }) => index)).toEqual(expected);
          const record = await readAccount(store, 'machine-1');
          if (record === undefined) throw new Error('no record');
          expect(record.recent).toHaveLength(((expected.length - 1) % BLOCK_EVENTS) + 1);
          for (const [sequence, index] of expected.entries())
            expect(await indexOfEvent(store, record, sequence)).toBe(index);
          expect(await indexOfEvent(store, record, expected.length)).toBeUndefined();
          expect((await ledger.check()).ok).toBe(true);
        },
      ),
      { numRuns: 15 },
    );
  });

  test('are refused when any byte of their structure is wrong', async () => {
    const head = {
      account: 'object-1',
      kind: 'object' as const,
      state: 'started',
      sequence: BLOCK_EVENTS + 1,
      index: 2 ** 52,
      hash: new Uint8Array(32).fill(4),
    };
    const bytes = encodeAccount({ head, recent: [7, 2 ** 52] });
    expect(decodeAccount(bytes, 'object-1')).toEqual({ head, recent: [7, 2 ** 52] });
    const changed = (at: number, byte: number) => {
      const copy = Uint8Array.from(bytes);
      copy[at] = byte;
      return copy;
    };
    for (const wrong of [
      new Uint8Array(0),
      bytes.subarray(0, -1),
      Uint8Array.from([...bytes, 0]),
      changed(0, 0x7f),
      changed(1, 8),
      changed(2, 0x1f),
      changed(2 + 'started'.length + 6, 7),
      changed(bytes.length - 7, 0xff),
    ])
      expect(await codeOf(() => decodeAccount(wrong, 'object-1'))).toBe('E_LEDGER_ENTRY');
  });

  test('one damaged account stops only its own events', async () => {
    const store = new MemoryStore();
    const ledger = await openTestLedger(store);
    await ledger.appendMany([request('machine-1', 'machine'), request('machine-2', 'machine')]);
    for (const [key, value] of store.map)
      if (Buffer.from(key, 'hex').toString() === 'amachine-1') store.map.set(key, value.subarray(1));
    const results = await Promise.allSettled([
      ledger.append(request('machine-1', 'material')),
      ledger.append(request('machine-2', 'material')),
    ]);
    expect(results).toMatchObject([
      { status: 'rejected', reason: { code: 'E_LEDGER_ENTRY' } },
      { status: 'fulfilled', value: { index: 2 } },
    ]);
  });
});
