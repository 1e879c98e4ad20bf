import { describe, expect, it } from 'vitest';
import { Batcher } from '../src/lifecycle.ts';

/** Calls that end when the test says so. */
function slowCalls(most: number, rest?: () => Promise<void>) {
  const calls: { readonly items: readonly string[]; end(error?: Error): void }[] = [];
  const batcher = new Batcher<string>(
    most,
    (items) =>
      new Promise((resolve, reject) => {
        calls.push({ items, end: (error) => (error === undefined ? resolve() : reject(error)) });
      }),
    rest,
  );
  return { batcher, calls };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

describe('items added during a call', () => {
  it('are sent with the next call, in order', async () => {
    const { batcher, calls } = slowCalls(10);
    const done: string[] = [];
    for (const item of ['a', 'b', 'c', 'd']) void batcher.add(item).then(() => done.push(item));
    expect(calls.map(({ items }) => items)).toEqual([['a']]);
    calls[0]?.end();
    await turn();
    expect(done).toEqual(['a']);
    expect(calls.map(({ items }) => items)).toEqual([['a'], ['b', 'c', 'd']]);
    calls[1]?.end();
    await turn();
    expect(done).toEqual(['a', 'b', 'c', 'd']);
    void batcher.add('e');
    expect(calls.at(-1)?.items).toEqual(['e']);
  });

  it('are limited per call', async () => {
    const { batcher, calls } = slowCalls(3);
    for (const item of 'abcdefg') void batcher.add(item);
    for (let i = 0; i < 3; i++) {
      calls[i]?.end();
      await turn();
    }
    expect(calls.map(({ items }) => items.join(''))).toEqual(['a', 'bcd', 'efg']);
  });

  it('are gathered for longer after a call with several items, not after a call with one', async () => {
    let rested: () => void = () => undefined;
    const { batcher, calls } = slowCalls(
      10,
      () =>
        new Promise((resolve) => {
          rested = resolve;
        }),
    );
    for (const item of ['a', 'b', 'c']) void batcher.add(item);
    calls[0]?.end();
    await turn();
    const second = batcher.add('d');
    calls[1]?.end();
    await turn();
    expect(calls.map(({ items }) => items)).toEqual([['a'], ['b', 'c']]);
    void batcher.add('e');
    rested();
    await turn();
    expect(calls.at(-1)?.items).toEqual(['d', 'e']);
    calls[2]?.end();
    await second; // the item's promise does not wait for the pause after the call
  });

  it('do not fail with the previous call', async () => {
    const { batcher, calls } = slowCalls(3);
    const [first, second] = [batcher.add('a'), batcher.add('b')];
    calls[0]?.end(new Error('refused'));
    await expect(first).rejects.toThrow('refused');
    calls[1]?.end();
    await expect(second).resolves.toBeUndefined();
  });
});
