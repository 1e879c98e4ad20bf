import { systemClock, systemRandom, toHex } from '@millrace/base';
import type { generateP256Key } from '@millrace/identity';
import {
  type Machine,
  objectId,
  periodAt,
  readPermit,
  type Subscription,
  type VerifiedOpening,
} from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { finishInterrupted } from '../src/control/interrupted.ts';
import { callHome } from '../src/control/permits.ts';
import { keepCounts } from '../src/streaming/admin.ts';
import { CreditRepository } from '../src/streaming/credits.ts';
import { ObjectRepository } from '../src/streaming/objects.ts';
import { fixtureWithMachine } from './control-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

const hex = () => toHex(systemRandom(16));
const codeOf = (attempt: Promise<unknown>): Promise<string> =>
  attempt.then(
    () => 'done',
    (error: { code?: string }) => error.code ?? String(error),
  );

/** Makes a method fail as if the process was killed before or after it, when the returned count has run down. */
function killable() {
  let left = Number.POSITIVE_INFINITY;
  const step = () => {
    if (left-- === 0) throw new Error('killed');
  };
  return {
    /** @param steps methods that still begin or end before the process is killed */
    after: (steps: number) => {
      left = steps;
    },
    wrap<T extends object>(object: T, ...methods: (keyof T)[]): T {
      for (const method of methods) {
        const real = object[method] as (...args: unknown[]) => unknown;
        object[method] = (async (...args: unknown[]) => {
          step();
          const result = await real.apply(object, args);
          step();
          return result;
        }) as T[keyof T];
      }
      return object;
    },
  };
}

describe('a proactive node', () => {
  const licence = hex();
  const period = (number: number, quota = 2) => ({ number, from: number * 100, to: number * 100 + 100, quota });
  const opening = (number: number, at: number): VerifiedOpening => {
    const permit = { object: objectId(licence, number), print: hex(), machine: hex(), licence, design: hex() };
    const request = { run: systemRandom(16), from: 0 };
    return { permit, request, transfers: [], period: period(at) } as unknown as VerifiedOpening;
  };
  let store: MemoryRecords;
  let book: ObjectRepository;
  const use = (number: number, at: number) => codeOf(book.use(opening(number, at), hex()));
  beforeEach(() => {
    store = new MemoryRecords();
    book = new ObjectRepository(store);
  });

  it('starts as many objects in a period as its quota, whatever control has permitted', async () => {
    expect(await Promise.all([1, 2, 3, 4].map((number) => use(number, 1)))).toEqual([
      ...['done', 'done', 'E_LICENCE_QUOTA', 'E_LICENCE_QUOTA'],
    ]);
    // Control may go back to an earlier period within the tolerance of clocks. That gains nothing.
    expect(await use(5, 2)).toBe('done');
    expect(await use(6, 1)).toBe('E_LICENCE_QUOTA');
    expect(await use(7, 2)).toBe('done');
    expect(await use(8, 2)).toBe('E_LICENCE_QUOTA');
  });

  it('counts an object once, and again after a restart or a restored backup', async () => {
    const first = opening(1, 1);
    const backup = new MemoryRecords();
    expect(await book.use(first, hex())).toBe(true);
    book = new ObjectRepository(store);
    expect(await book.use({ ...first, period: undefined }, hex())).toBe(true);
    expect(await use(2, 1)).toBe('done');
    await keepCounts(store, backup);
    for (const kept of [store, backup]) {
      book = new ObjectRepository(kept);
      expect(await use(3, 1)).toBe('E_LICENCE_QUOTA');
    }
  });

  it('starts one more for each object of the period that was credited', async () => {
    const credits = new CreditRepository(store);
    for (const number of [1, 2]) expect(await use(number, 1)).toBe('done');
    expect(await use(3, 2)).toBe('done');
    await credits.take(objectId(licence, 3)); // of another period
    await credits.take(objectId(licence, 9)); // of an object that this node does not know
    expect(await use(4, 1)).toBe('E_LICENCE_QUOTA');
    await credits.take(objectId(licence, 2));
    await credits.take(objectId(licence, 2));
    expect(await use(4, 1)).toBe('done');
    expect(await use(5, 1)).toBe('E_LICENCE_QUOTA');
  });

  it('uses up nothing when it is killed at any of its writes', async () => {
    for (let steps = 0; ; steps++) {
      store = new MemoryRecords();
      const kill = killable();
      const real = store.collection.bind(store);
      store.collection = (...name) => kill.wrap(real(...name), 'put', 'compareAndSwap');
      book = new ObjectRepository(store);
      const first = opening(1, 1);
      kill.after(steps);
      const killed = (await codeOf(book.use(first, hex()))) !== 'done';
      kill.after(Number.POSITIVE_INFINITY);
      book = new ObjectRepository(store);
      // Whether the object of the killed process or another one comes next: two of them begin.
      if (steps % 2 === 0) expect(await codeOf(book.use(first, hex()))).toBe('done');
      const others = [await use(2, 1), await use(3, 1), await use(4, 1)].filter((code) => code === 'done');
      const begun = (await book.begun(first.permit.object)) ? 1 : 0;
      expect(others.length + begun).toBe(2);
      if (!killed) break;
    }
  });
});

describe('control', () => {
  const DAY = 86_400_000;
  const LEFT = 300_000;
  let fixture: Awaited<ReturnType<typeof fixtureWithMachine>>['fixture'];
  let price: Subscription;
  let key: ReturnType<typeof generateP256Key>;
  let machine: Machine;
  let licence: string;
  let passed = 0;
  const now = () => systemClock.now() + passed;

  /** A licence whose first period ends in LEFT ms. */
  async function begin(quota: number, terms: Partial<Subscription> = {}): Promise<void> {
    passed = 0;
    const made = await fixtureWithMachine(now);
    ({ fixture, key, machine } = made);

    const start = now() + LEFT - DAY;
    price = { per: 'period', currency: 'EUR', amount: 100, unit: 'day', length: 1, start, quota, ...terms };
    licence = await fixture.grant(made.design, [machine], { objects: 50, terms: { price, notBefore: start } });
  }

  const order = () => fixture.print(licence, machine);
  async function home(print: string, run = systemRandom(16)): Promise<void> {
    const { directory } = fixture.context;
    const request = await signPermitRequest(key, directory.installation, { print, issued: now(), run });
    await callHome(fixture.context, machine.machine, request);
  }
  const permitted = async () => codeOf(order().then((print) => home(print)));
  /** Permitted objects that are not credited, in each period, by the ledger alone. */
  async function byLedger(): Promise<number[]> {
    const counts = [0, 0, 0];
    for await (const { event } of fixture.context.ledger.events(0)) {
      const [permit] = event.evidence ?? [];
      if (event.type !== 'permitted' || permit === undefined) continue;
      const { number = 0 } = periodAt(price, readPermit(permit).issued) ?? {};
      const credited = (await fixture.context.ledger.head(event.account))?.state === 'credited';
      counts[number] = (counts[number] ?? 0) + (credited ? 0 : 1);
    }
    return counts.slice(1);
  }

  it('permits as many objects in a period as its quota, and queues no more', async () => {
    await begin(2);
    const waiting = [await order(), await order()];
    expect(await codeOf(order())).toBe('E_LICENCE_QUOTA');
    for (const print of waiting) await home(print);
    expect(await permitted()).toBe('E_LICENCE_QUOTA');
    passed = LEFT;
    for (const code of ['done', 'done', 'E_LICENCE_QUOTA']) expect(await permitted()).toBe(code);
    expect(await byLedger()).toEqual([2, 2]);
  });

  it('counts a print in the period in which it begins, and a resumed one not again', async () => {
    await begin(1);
    const [print, run] = [await order(), systemRandom(16)];
    await home(print, run);
    passed = LEFT + 1_000;
    const late = await order();
    await home(print, run); // The machine had not moved: it gets another permit of the same object.
    await home(late);
    expect(await byLedger()).toEqual([1, 1]);
    expect(await permitted()).toBe('E_LICENCE_QUOTA');
  });

  it('counts a print once whose permit the ledger does not show yet', async () => {
    await begin(2);
    const [first, second, run] = [await order(), await order(), systemRandom(16)];
    const kill = killable();
    kill.wrap(fixture.context.ledger, 'appendMany');
    kill.after(0);
    await expect(home(first, run)).rejects.toThrow('killed');
    kill.after(Number.POSITIVE_INFINITY);
    await home(second);
    await home(first, run); // another permit of the same object
    expect(await byLedger()).toEqual([2, 0]);
    expect(await permitted()).toBe('E_LICENCE_QUOTA');
  });

  it('refuses a queued print for which the period has no object left', async () => {
    await begin(2);
    const [first, second] = [await order(), await order()];
    passed = LEFT; // In the next period, others come first.
    await fixture.context.records.prints.update(second, (now) => ({ ...now, state: 'cancelled' }));
    expect(await permitted()).toBe('done');
    await fixture.context.records.prints.update(second, (now) => ({ ...now, state: 'queued' }));
    await home(first);
    expect(await codeOf(home(second))).toBe('E_LICENCE_QUOTA');
    expect(await fixture.context.records.prints.require(second)).toMatchObject({
      ...{ state: 'refused', code: 'E_LICENCE_QUOTA' },
    });
    expect(await byLedger()).toEqual([0, 2]);
  });

  it('permits another object for one of the period that was credited', async () => {
    await begin(1);
    expect(await permitted()).toBe('done');
    passed = LEFT;
    const credits = [objectId(licence, 1)];
    await fixture.context.records.licences.update(licence, (record) => ({ ...record, credits }));
    for (const code of ['done', 'E_LICENCE_QUOTA']) expect(await permitted()).toBe(code); // credited in the last period
    credits.push(objectId(licence, 2));
    await fixture.context.records.licences.update(licence, (record) => ({ ...record, credits }));
    for (const code of ['done', 'E_LICENCE_QUOTA']) expect(await permitted()).toBe(code);
  });

  it('does not limit objects that have a price beyond the quota; refuses objects before the first period', async () => {
    await begin(1, { overage: 7 });
    for (let i = 0; i < 3; i++) expect(await permitted()).toBe('done');
    expect(await byLedger()).toEqual([3, 0]);
    await begin(1, { start: systemClock.now() + LEFT });
    expect(await codeOf(order())).toBe('E_LICENCE_INVALID');
    passed = LEFT;
    expect(await permitted()).toBe('done');
  });

  it('never exceeds the quota of a period in any history with crashes, and goes on afterwards', async () => {
    const step = fc.record({
      does: fc.constantFrom('print', 'print', 'print', 'again', 'pass'),
      kill: fc.option(fc.integer({ min: 0, max: 14 }), { freq: 3 }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.array(step, { minLength: 12, maxLength: 24 }),
        async (quota, steps) => {
          await begin(quota);
          const { context } = fixture;
          const { records } = context;
          const kill = killable();
          kill.wrap(records.periods, 'take');
          kill.wrap(records.claims, 'create');
          kill.wrap(records.prints, 'update');
          kill.wrap(context.ledger, 'appendMany');
          kill.wrap(context.mailbox, 'send');
          const runs = new Map<string, ReturnType<typeof systemRandom>>();
          for (const { does, kill: at } of steps) {
            kill.after(at ?? Number.POSITIVE_INFINITY);
            if (does === 'pass') passed = LEFT;
            if (does === 'print') {
              const print = await order().catch(() => undefined);
              if (print !== undefined) {
                runs.set(print, systemRandom(16));
                await home(print, runs.get(print)).catch(() => undefined);
              }
            }
            if (does === 'again') for (const [print, run] of runs) await home(print, run).catch(() => undefined);
            kill.after(Number.POSITIVE_INFINITY);
            if (at !== undefined) await finishInterrupted(context);
          }
          for (const [print, run] of runs) await home(print, run).catch(() => undefined);
          for (const used of await byLedger()) expect(used).toBeLessThanOrEqual(quota);
          // What is left can be used.
          while ((await permitted()) === 'done');
          const [, last = 0] = await byLedger();
          if (passed === LEFT) expect(last).toBeGreaterThanOrEqual(Math.min(quota, 1));
        },
      ),
      { numRuns: 20 },
    );
  });
});
