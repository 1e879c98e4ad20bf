import { codeOf } from '@millrace/testkit/ledger/helpers';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type AccountHead, nextState } from '../src/accounts.ts';
import { type EventType, eventTypes } from '../src/index.ts';

/** Applies the events in order and returns the final state. */
function walk(...types: EventType[]): string {
  let head: AccountHead | undefined;
  for (const [sequence, type] of types.entries()) {
    head = { account: 'a', ...nextState(head, 'a', type), sequence, index: sequence, hash: new Uint8Array(32) };
  }
  return head?.state ?? 'none';
}

describe('transitions of an account', () => {
  test.each<[string, EventType[]]>([
    [
      'completed',
      ['ordered', 'licensed', 'permitted', 'started', 'progressed', 'progressed', 'completed', 'inspected'],
    ],
    ['completed', ['ordered', 'permitted', 'completed', 'transferred', 'material']],
    ['failed', ['ordered', 'licensed', 'permitted', 'started', 'alarmed', 'failed', 'inspected']],
    ['alarmed', ['ordered', 'permitted', 'started', 'alarmed', 'alarmed', 'progressed', 'inspected']],
    ['credited', ['ordered', 'permitted', 'alarmed', 'credited', 'failed']],
    ['completed', ['ordered', 'permitted', 'completed', 'alarmed']],
    ['credited', ['ordered', 'licensed', 'permitted', 'failed', 'inspected', 'credited', 'progressed', 'machine']],
    ['credited', ['ordered', 'permitted', 'completed', 'inspected', 'credited', 'inspected']],
    ['credited', ['ordered', 'permitted', 'inspected', 'credited', 'started']],
    ['retired', ['ordered', 'transferred', 'retired']],
    ['open', ['licensed', 'permitted', 'permitted', 'credited', 'transferred']],
    ['open', ['machine', 'material', 'machine', 'inspected', 'alarmed', 'failed']],
    ['open', ['material', 'material', 'transferred']],
    ['open', ['stored', 'licensed', 'stored']],
    ['retired', ['machine', 'retired']],
  ])('%s: %j', (state, types) => {
    expect(walk(...types)).toBe(state);
  });

  test.each<EventType[][]>([
    [['permitted']],
    [['started']],
    [['completed']],
    [['ordered', 'started']],
    [['ordered', 'licensed', 'completed']],
    [['ordered', 'licensed', 'failed']],
    [['ordered', 'ordered']],
    [['ordered', 'licensed', 'licensed']],
    [['ordered', 'permitted', 'permitted']],
    [['ordered', 'permitted', 'progressed']],
    [['ordered', 'permitted', 'started', 'started']],
    [['ordered', 'permitted', 'started', 'permitted']],
    [['ordered', 'permitted', 'completed', 'completed']],
    [['ordered', 'permitted', 'completed', 'failed']],
    [['ordered', 'permitted', 'started', 'credited']],
    [['ordered', 'permitted', 'failed', 'credited', 'permitted']],
    [['ordered', 'permitted', 'failed', 'credited', 'completed']],
    [['ordered', 'permitted', 'failed', 'credited', 'credited']],
    [['ordered', 'permitted', 'completed', 'permitted']],
    [['ordered', 'permitted', 'failed', 'permitted']],
    [['ordered', 'permitted', 'failed', 'completed']],
    [['ordered', 'permitted', 'started', 'alarmed', 'completed']],
    [['ordered', 'permitted', 'started', 'alarmed', 'permitted']],
    [['ordered', 'alarmed']],
    [['ordered', 'credited']],
    [['ordered', 'stored']],
    [['licensed', 'started']],
    [['machine', 'completed']],
    [['stored', 'completed']],
    [['material', 'machine']],
  ])('rejects the last event: %j', async (types) => {
    walk(...types.slice(0, -1));
    expect(await codeOf(() => walk(...types))).toBe('E_STATE');
  });

  test('a retired account accepts no event', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<EventType>('ordered', 'licensed', 'machine', 'material', 'stored'),
        fc.constantFrom(...eventTypes),
        async (first, then) => {
          expect(await codeOf(() => walk(first, 'retired', then))).toBe('E_STATE');
        },
      ),
    );
  });

  test('an object completes at most once and never without a permit, in any order of events', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...eventTypes), { maxLength: 30 }), (types) => {
        const accepted: EventType[] = ['ordered'];
        for (const type of types) {
          try {
            walk(...accepted, type);
            accepted.push(type);
          } catch {
            // The event was rejected: the account keeps its state.
          }
        }
        const count = (type: EventType) => accepted.filter((t) => t === type).length;
        expect(count('completed')).toBeLessThanOrEqual(1);
        expect(count('permitted')).toBeLessThanOrEqual(1);
        expect(count('credited')).toBeLessThanOrEqual(1);
        const [end] = accepted.filter((type) => type === 'completed' || type === 'failed' || type === 'credited');
        if (end === 'credited') expect(count('completed')).toBe(0);
      }),
    );
  });
});
