import { MillraceError, toHex, utf8 } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UnsureStore } from '../src/compliance/index.ts';
import { Decisions, MemoryStore, type Store } from '../src/index.ts';
import { engines } from './harness.ts';

const key = utf8('licence');

function take(limit: number) {
  return (current: Uint8Array | undefined) => {
    const taken = current?.[0] ?? 0;
    return taken < limit ? Uint8Array.of(taken + 1) : undefined;
  };
}

describe('decisions', () => {
  it.each(Object.entries(engines))(
    '200 racers in four processes’ worth of deciders, N places (%s)',
    async (_, open) => {
      const harness = await open();
      try {
        const deciders = Array.from({ length: 4 }, () => new Decisions(harness.store));
        const decisions = await Promise.all(
          Array.from({ length: 200 }, (_, i) => (deciders[i % 4] as Decisions).decide(key, take(13))),
        );
        const applied = decisions.filter(({ outcome }) => outcome === 'applied');
        expect(applied).toHaveLength(13);
        expect(new Set(applied.map((d) => (d.outcome === 'applied' ? toHex(d.value) : '')))).toHaveProperty('size', 13);
        expect(await new Decisions(harness.store).read(key)).toEqual(Uint8Array.of(13));
      } finally {
        await harness.dispose();
      }
    },
  );

  it('counts exactly on a store that is often unsure', async () => {
    await fc.assert(
      fc.asyncProperty(fc.infiniteStream(fc.nat(3)), fc.integer({ min: 1, max: 40 }), async (moods, racers) => {
        const inner = new MemoryStore();
        const when = () => (['sure', 'sure', 'applied unseen', 'lost'] as const)[moods.next().value ?? 0] ?? 'sure';
        const deciders = Array.from({ length: 3 }, () => new Decisions(new UnsureStore(inner, when)));
        const decisions = await Promise.all(
          Array.from({ length: racers }, (_, i) => (deciders[i % 3] as Decisions).decide(key, take(255))),
        );
        expect(decisions.every(({ outcome }) => outcome === 'applied')).toBe(true);
        expect((await new Decisions(inner).read(key))?.[0]).toBe(racers);
      }),
      { numRuns: 100 },
    );
  });

  it('gives the payload before and after, and the current one when refused', async () => {
    const decisions = new Decisions(new MemoryStore());
    expect(await decisions.decide(key, () => utf8('a'))).toEqual({
      outcome: 'applied',
      value: utf8('a'),
      previous: undefined,
    });
    expect(await decisions.decide(key, () => utf8('b'))).toEqual({
      outcome: 'applied',
      value: utf8('b'),
      previous: utf8('a'),
    });
    expect(await decisions.decide(key, () => undefined)).toEqual({ outcome: 'refused', current: utf8('b') });
  });

  it('keeps working past the length of the history', async () => {
    const decisions = new Decisions(new MemoryStore());
    for (let i = 0; i < 80; i++) await decisions.decide(key, take(255));
    expect(await decisions.read(key)).toEqual(Uint8Array.of(80));
  });

  it('says so when the outcome cannot be known', async () => {
    const inner = new MemoryStore();
    await new Decisions(inner).decide(key, () => utf8('start'));
    // Forty others decide between our unseen swap and our settling read.
    const overtaken: Store = new UnsureStore(inner, () => 'applied unseen');
    const others = new Decisions(inner);
    const slow: Store = Object.assign(Object.create(overtaken), {
      get: (k: Uint8Array) => inner.get(k),
      compareAndSwap: async (k: Uint8Array, a: Uint8Array | undefined, b: Uint8Array | undefined) => {
        await inner.compareAndSwap(k, a, b);
        for (let i = 0; i < 40; i++) await others.decide(key, () => utf8('theirs'));
        return 'unknown';
      },
    });
    const outcome = await new Decisions(slow).decide(key, () => utf8('ours')).catch((error: unknown) => error);
    expect(outcome).toBeInstanceOf(MillraceError);
    expect(outcome).toMatchObject({ code: 'E_UNAVAILABLE' });
  });

  it('a failing change decides nothing and does not block the key', async () => {
    const decisions = new Decisions(new MemoryStore());
    const failed = decisions.decide(key, () => Promise.reject(new Error('no')));
    const next = decisions.decide(key, () => utf8('yes'));
    await expect(failed).rejects.toThrow('no');
    expect((await next).outcome).toBe('applied');
  });

  it('names a damaged value', async () => {
    const store = new MemoryStore();
    await store.put(key, Uint8Array.of(5, 1, 2));
    await expect(new Decisions(store).read(key)).rejects.toMatchObject({ code: 'E_STORE' });
  });
});
