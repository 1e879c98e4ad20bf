import { describe, expect, it } from 'vitest';
import { Batcher } from '../src/lifecycle.ts';

/** Calls that end when they are told to. */
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

describe('what comes while a call is under way', () => {
  it('goes with the next one, in order', async () => {
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

  it('is not more than one call takes', async () => {
    const { batcher, calls } = slowCalls(3);
    for (const item of 'abcdefg') void batcher.add(item);
    for (let i = 0; i < 3; i++) {
      calls[i]?.end();
      await turn();
    }
    expect(calls.map(({ items }) => items.join(''))).toEqual(['a', 'bcd', 'efg']);
  });

  it('gathers a while longer after a call that took several, and not after one that took one', async () => {
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
    await second; // whoever waits for a call does not wait for the rest after it
  });

  it('does not fail with the call before', async () => {
    const { batcher, calls } = slowCalls(3);
    const [first, second] = [batcher.add('a'), batcher.add('b')];
    calls[0]?.end(new Error('refused'));
    await expect(first).rejects.toThrow('refused');
    calls[1]?.end();
    await expect(second).resolves.toBeUndefined();
  });
});
