import { expect, it } from 'vitest';
import { mapAhead, sleep } from '../src/index.ts';

async function all<T>(results: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const result of results) list.push(result);
  return list;
}

it('runs tasks ahead, no more than allowed, and keeps the order', async () => {
  let running = 0;
  let most = 0;
  const task = async (n: number) => {
    most = Math.max(most, ++running);
    await sleep(n % 3);
    running--;
    return n * 2;
  };
  const numbers = Array.from({ length: 50 }, (_, n) => n);
  expect(await all(mapAhead(numbers, 8, task))).toEqual(numbers.map((n) => n * 2));
  expect(most).toBe(8);
});

it('gives fewer results than tasks may run at once', async () => {
  expect(await all(mapAhead([1, 2], 8, async (n) => n))).toEqual([1, 2]);
  expect(await all(mapAhead([], 8, async (n) => n))).toEqual([]);
});

it('throws what a task throws, after the results before it', async () => {
  const taken: number[] = [];
  const fails = async () => {
    for await (const n of mapAhead([1, 2, 3, 4], 3, async (n) => (n === 3 ? Promise.reject(new Error('three')) : n)))
      taken.push(n);
  };
  await expect(fails()).rejects.toThrow('three');
  expect(taken).toEqual([1, 2]);
});

it('stops with its caller, whatever fails afterwards', async () => {
  for await (const n of mapAhead([1, 2, 3], 3, async (n) => (n > 1 ? Promise.reject(new Error('late')) : n))) {
    expect(n).toBe(1);
    break;
  }
  await sleep(5); // an unhandled rejection would fail the test
});
