import { type Bytes, toHex } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inRange } from '../src/keys.ts';
import type { Range, Store, Write } from '../src/port.ts';
import { engines } from './harness.ts';

// Few short keys, so that operations hit the same ones.
const key = fc
  .uint8Array({ minLength: 1, maxLength: 3 })
  .map((bytes) => Uint8Array.from(bytes, (b) => [0, 1, 128, 255][b % 4] ?? 0));
const value = fc.uint8Array({ maxLength: 6 });
const write: fc.Arbitrary<Write> = fc.oneof(fc.record({ put: key, value }), fc.record({ delete: key }));
const bound = fc.option(key, { nil: undefined });
const range: fc.Arbitrary<Range> = fc
  .record({
    low: bound,
    lowOpen: fc.boolean(),
    high: bound,
    highOpen: fc.boolean(),
    reverse: fc.boolean(),
    limit: fc.option(fc.nat(6), { nil: undefined }),
  })
  .map(({ low, lowOpen, high, highOpen, reverse, limit }) => ({
    ...(low && (lowOpen ? { gt: low } : { gte: low })),
    ...(high && (highOpen ? { lt: high } : { lte: high })),
    reverse,
    ...(limit !== undefined && { limit }),
  }));
const step = fc.oneof(
  fc.record({ do: fc.constant('batch' as const), writes: fc.array(write, { maxLength: 6 }) }),
  fc.record({
    do: fc.constant('swap' as const),
    key,
    value: fc.option(value, { nil: undefined }),
    right: fc.boolean(),
  }),
  fc.record({ do: fc.constant('range' as const), range }),
  fc.record({ do: fc.constant('reopen' as const) }),
);

type Model = Map<string, Uint8Array>;

function apply(model: Model, write: Write): void {
  if ('put' in write) model.set(toHex(write.put), write.value);
  else model.delete(toHex(write.delete));
}

function expected(model: Model, range: Range): string[] {
  const keys = [...model.keys()].filter((hex) => inRange(Buffer.from(hex, 'hex'), range)).sort();
  if (range.reverse) keys.reverse();
  return keys.slice(0, range.limit).map((hex) => `${hex}=${toHex(model.get(hex) ?? new Uint8Array())}`);
}

async function found(store: Store, range: Range): Promise<string[]> {
  const out: string[] = [];
  for await (const { key, value } of store.range(range)) out.push(`${toHex(key)}=${toHex(value)}`);
  return out;
}

describe.each(Object.entries(engines))('the %s store against a map', (name, open) => {
  it('agrees after any sequence of operations', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const harness = await open();
        let store: Store = harness.store;
        const model: Model = new Map();
        try {
          for (const action of steps) {
            if (action.do === 'batch') {
              await store.batch(action.writes);
              for (const one of action.writes) apply(model, one);
            } else if (action.do === 'swap') {
              const current = model.get(toHex(action.key));
              const wrong: Bytes | undefined = current === undefined ? Uint8Array.of(9) : undefined;
              const swap = await store.compareAndSwap(action.key, action.right ? current : wrong, action.value);
              expect(swap).toBe(action.right ? 'applied' : 'refused');
              if (action.right)
                apply(model, action.value ? { put: action.key, value: action.value } : { delete: action.key });
            } else if (action.do === 'range') {
              expect(await found(store, action.range)).toEqual(expected(model, action.range));
            } else {
              store = await harness.reopen();
            }
          }
          expect(await found(store, {})).toEqual(expected(model, {}));
        } finally {
          await harness.dispose();
        }
      }),
      { numRuns: name === 'lmdb' ? 100 : 400 },
    );
  });
});
