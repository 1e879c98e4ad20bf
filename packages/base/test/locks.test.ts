import { describe, expect, it } from 'vitest';
import { Condition, KeyedMutex, Mutex, RwLock } from '../src/locks.ts';

/** A task that ends when the test says so. */
function task(log: string[], name: string) {
  let end: (error?: Error) => void = () => undefined;
  const done = new Promise<void>((resolve, reject) => {
    end = (error) => (error === undefined ? resolve() : reject(error));
  });
  const run = async () => {
    log.push(`${name} begins`);
    await done;
    log.push(`${name} ends`);
    return name;
  };
  return { run, end };
}
const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('Mutex', () => {
  it('runs tasks one after the other, also after a failed one', async () => {
    const log: string[] = [];
    const mutex = new Mutex();
    const [a, b] = [task(log, 'a'), task(log, 'b')];
    const first = mutex.run(a.run);
    const second = mutex.run(b.run);
    await settle();
    expect(log).toEqual(['a begins']);
    a.end(new Error('failed'));
    await expect(first).rejects.toThrow('failed');
    await settle();
    b.end();
    expect(await second).toBe('b');
    expect(log).toEqual(['a begins', 'b begins', 'b ends']);
  });
});

describe('KeyedMutex', () => {
  it('runs tasks of different keys concurrently, and forgets keys without tasks', async () => {
    const log: string[] = [];
    const mutex = new KeyedMutex();
    const [a, b, other] = [task(log, 'a'), task(log, 'b'), task(log, 'other')];
    const all = [mutex.run('x', a.run), mutex.run('x', b.run), mutex.run('y', other.run)];
    await settle();
    expect(log).toEqual(['a begins', 'other begins']);
    expect(mutex.size).toBe(2);
    for (const { end } of [a, b, other]) end();
    expect(await Promise.all(all)).toEqual(['a', 'b', 'other']);
    expect(mutex.size).toBe(0);
    await expect(mutex.run('x', () => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
    expect(mutex.size).toBe(0);
  });
});

describe('RwLock', () => {
  it('runs readers together and a writer alone, in the order of arrival', async () => {
    const log: string[] = [];
    const lock = new RwLock();
    const tasks = ['r1', 'r2', 'w', 'r3'].map((name) => task(log, name));
    const [r1, r2, w, r3] = tasks as [(typeof tasks)[0], (typeof tasks)[0], (typeof tasks)[0], (typeof tasks)[0]];
    const all = [lock.read(r1.run), lock.read(r2.run), lock.write(w.run), lock.read(r3.run)];
    await settle();
    expect(log).toEqual(['r1 begins', 'r2 begins']);
    r1.end();
    await settle();
    expect(log).not.toContain('w begins');
    r2.end();
    await settle();
    expect(log.slice(4)).toEqual(['w begins']);
    w.end();
    await settle();
    expect(log.slice(5)).toEqual(['w ends', 'r3 begins']);
    r3.end();
    await Promise.all(all);
  });
});

describe('Condition', () => {
  it('wakes all waiting tasks, and checks the predicate each time', async () => {
    const condition = new Condition();
    let state = 0;
    const waiting = [1, 2].map((wanted) => condition.until(() => state >= wanted).then(() => wanted));
    state = 1;
    condition.notify();
    expect(await Promise.race(waiting)).toBe(1);
    state = 2;
    condition.notify();
    expect(await Promise.all(waiting)).toEqual([1, 2]);
    const failing = condition.until(() => {
      throw new Error('closed');
    });
    await expect(failing).rejects.toThrow('closed');
  });

  it('stops waiting when its signal is aborted', async () => {
    const condition = new Condition();
    const stop = new AbortController();
    const waiting = condition.wait(stop.signal);
    stop.abort(new Error('closing'));
    await expect(waiting).rejects.toThrow('closing');
    await expect(condition.wait(stop.signal)).rejects.toThrow('closing');
    condition.notify();
  });
});
