import { systemRandom, toHex } from '@millrace/base';
import { generateUserKey } from '@millrace/identity';
import { type Attested, type Directory, signTransaction, type VerifiedOpening } from '@millrace/protocol';
import { MemoryRecords, type RecordStore } from '@millrace/stores';
import { registerKey } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it } from 'vitest';
import { ObjectRepository } from '../src/streaming/objects.ts';

const hex = () => toHex(systemRandom(16));
const installation = hex();
const licence = hex();
const machine = hex();
const design = hex();

/** The fields of a verified opening that the repository reads. */
function opening(
  number: number,
  change: { machine?: string; licence?: string; print?: string } = {},
  from = 0,
): VerifiedOpening {
  const permit = {
    object: `${change.licence ?? licence}-${number}`,
    print: hex(),
    machine,
    licence,
    design,
    ...change,
  };
  return { permit, request: { run: systemRandom(16), from }, transfers: [] } as unknown as VerifiedOpening;
}

/** The same object, print and run, resumed from another segment. */
const resumed = ({ permit, request }: VerifiedOpening, from: number) =>
  ({ permit, request: { ...request, from }, transfers: [] }) as unknown as VerifiedOpening;

let book: ObjectRepository;
const admin = generateUserKey();
let owner: ReturnType<typeof generateUserKey>;
beforeEach(async () => {
  book = new ObjectRepository(new MemoryRecords());
  owner = generateUserKey();
});

const clearance = async (object: string, signer = owner) => ({
  transaction: await signTransaction(signer, installation, {
    type: 'alarm.clear',
    object,
    id: systemRandom(16),
    issued: Date.now(),
    expires: Date.now() + 60_000,
  }),
  credential: await registerKey(admin, installation, signer.publicKey),
});
const clear = (object: string, signed: Attested) =>
  book.clear({ type: 'alarm.clear', object, ...signed } as never, options());
const options = () => ({
  directory: { installation, adminKey: toHex(admin.publicKey) } as unknown as Directory,
  ownerOf: (asked: string) => {
    expect(asked).toBe(design);
    return { owner: owner.publicKey };
  },
});

describe('an alarm', () => {
  const object = `${licence}-1`;

  it('stops the object, and others of its licence on that machine; not other machines and licences', async () => {
    const first = opening(1);
    expect(await book.use(first, hex())).toBe(true);
    expect(await book.use(opening(2), hex())).toBe(true);
    await book.alarm(object);
    await expect(book.use(first, hex())).rejects.toMatchObject({ code: 'E_ALARM' });
    await expect(book.use(opening(3), hex())).rejects.toMatchObject({ code: 'E_ALARM' });
    expect(await book.use(opening(3, { machine: hex() }), hex())).toBe(true);
    expect(await book.use(opening(3, { licence: hex() }), hex())).toBe(true);
  });

  it('is cleared only by the owner’s signature, for the object that it names', async () => {
    await book.use(opening(1), hex());
    await book.use(opening(2), hex());
    await book.alarm(object);
    const other = generateUserKey();
    await expect(clear(object, await clearance(object, other))).rejects.toMatchObject({
      code: 'E_AUTH',
    });
    const misplaced = await clearance(`${licence}-2`);
    await expect(clear(object, misplaced)).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
    const flipped = await clearance(object);
    const { transaction } = flipped;
    transaction[transaction.length - 1] = (transaction.at(-1) ?? 0) ^ 1;
    await expect(clear(object, flipped)).rejects.toMatchObject({ code: 'E_SIGNATURE' });
    await expect(book.use(opening(3), hex())).rejects.toMatchObject({ code: 'E_ALARM' });

    await clear(object, await clearance(object));
    await clear(object, await clearance(object)); // delivered twice
    expect(await book.use(opening(3), hex())).toBe(true);
    await expect(book.use(opening(1), hex())).rejects.toMatchObject({ code: 'E_ALARM' });
    await expect(clear(`${licence}-9`, await clearance(`${licence}-9`))).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
    });
  });

  it('of two objects is cleared when both are', async () => {
    await book.use(opening(1), hex());
    await book.use(opening(2), hex());
    await book.alarm(`${licence}-1`);
    await book.alarm(`${licence}-2`);
    await clear(`${licence}-1`, await clearance(`${licence}-1`));
    await expect(book.use(opening(3), hex())).rejects.toMatchObject({ code: 'E_ALARM' });
    await clear(`${licence}-2`, await clearance(`${licence}-2`));
    expect(await book.use(opening(3), hex())).toBe(true);
  });
});

describe('an object', () => {
  const SEGMENTS = 20;
  const WINDOW = 4;
  const first = opening(1);
  const { object } = first.permit;
  /** The permit of the newest session. */
  let permit = '';
  const use = async (verified: VerifiedOpening) => {
    const next = hex();
    const used = await book.use(verified, next);
    permit = next;
    return used;
  };
  const give = (from: number, to: number, acked: number) =>
    book.give(object, permit, { from, to, acked, segments: SEGMENTS, window: WINDOW });
  const refused = { code: 'E_REPLAY' };

  it('has one print, and a print has one object', async () => {
    const print = hex();
    expect(await use(opening(1, { print }))).toBe(true);
    await expect(use(opening(2, { print }))).rejects.toMatchObject(refused);
    await expect(use(opening(1, { print: hex() }))).rejects.toMatchObject(refused);
  });

  it('has started once a session of it has started', async () => {
    expect(await book.begun(object)).toBe(false);
    await use(first);
    expect(await book.begun(object)).toBe(true);
    expect(await book.begun(`${licence}-2`)).toBe(false);
  });

  it('rejects a session below the acknowledged segment, also after a restart of the process', async () => {
    const store = new MemoryRecords();
    book = new ObjectRepository(store);
    await use(first);
    await book.reach(object, 7);
    await book.reach(object, 3);
    book = new ObjectRepository(store);
    await expect(use(resumed(first, 6))).rejects.toMatchObject(refused);
    await expect(use(first)).rejects.toMatchObject(refused);
    expect(await use(resumed(first, 7))).toBe(true);
  });

  it('records the acknowledged segment with each slice', async () => {
    await use(first);
    await give(0, 4, 0);
    await give(4, 6, 2);
    await expect(use(resumed(first, 1))).rejects.toMatchObject(refused);
    expect(await use(resumed(first, 2))).toBe(true);
  });

  it('rejects a session that starts below an earlier session', async () => {
    await use(first);
    await use(resumed(first, 5));
    await expect(use(resumed(first, 4))).rejects.toMatchObject(refused);
    await expect(give(4, 6, 0)).rejects.toMatchObject(refused);
  });

  it('is streamed completely once; lost connections can repeat two windows and no more', async () => {
    await use(first);
    for (let from = 0; from < SEGMENTS; from += 4) await give(from, from + 4, from);
    for (const _ of [1, 2]) {
      await use(resumed(first, 16));
      await give(16, 20, 16);
    }
    await use(resumed(first, 16));
    await expect(give(16, 20, 16)).rejects.toMatchObject(refused);
    await expect(give(19, 20, 16)).rejects.toMatchObject(refused);
    await expect(use(first)).rejects.toMatchObject(refused);
  });

  it('with a single segment is streamed once', async () => {
    await use(first);
    const only = { from: 0, to: 1, acked: 0, segments: 1, window: WINDOW };
    await book.give(object, permit, only);
    await use(first);
    await expect(book.give(object, permit, only)).rejects.toMatchObject(refused);
  });

  it('ends when its connection breaks repeatedly without progress', async () => {
    await use(first);
    const once = async () => {
      await use(first);
      await give(0, 4, 0);
    };
    for (let times = 0; times < 22; times++) await once();
    await expect(once()).rejects.toMatchObject(refused);
  });

  it('gets nothing more in the alarm state', async () => {
    await use(first);
    await give(0, 4, 0);
    await book.alarm(object);
    await expect(give(4, 5, 1)).rejects.toMatchObject({ code: 'E_ALARM' });
  });
});

describe('concurrent use of a permit', () => {
  it('an alarm is never lost', async () => {
    const { object } = opening(1).permit;
    const first = opening(1);
    await book.use(first, hex());
    for (let round = 0; round < 20; round++) {
      book = new ObjectRepository(new MemoryRecords());
      await book.use(first, hex());
      const both = [book.use(resumed(first, 1), hex()), book.alarm(object), book.reach(object, 1)];
      if (round % 2 === 1) both.reverse();
      await Promise.allSettled(both);
      await expect(book.use(resumed(first, 2), hex())).rejects.toMatchObject({ code: 'E_ALARM' });
      await expect(book.use(opening(2), hex())).rejects.toMatchObject({ code: 'E_ALARM' });
    }
  });

  it('a print used twice concurrently gets one object', async () => {
    const print = hex();
    const both = await Promise.allSettled([
      book.use(opening(1, { print }), hex()),
      book.use(opening(2, { print }), hex()),
    ]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  });
});

describe('two nodes that share the records', () => {
  const SEGMENTS = 40;
  const WINDOW = 8;
  const first = opening(1);
  const { object } = first.permit;
  const slice = (from: number, to: number, acked: number) => ({ from, to, acked, segments: SEGMENTS, window: WINDOW });
  const superseded = { code: 'E_UNAVAILABLE' };

  /** Records whose writes by this node wait while it is frozen, as those of a process that SIGSTOP stopped. */
  function node(id: string, store: MemoryRecords) {
    let thaw = () => {};
    let until = Promise.resolve();
    let held = 0;
    let frozen = '';
    const records: RecordStore = {
      collections: () => store.collections(),
      collection: (...args) => {
        const collection = store.collection(...args);
        return new Proxy(collection, {
          get: (target, name: keyof typeof collection) => {
            const value = target[name];
            if (typeof value !== 'function') return value;
            if (name !== 'compareAndSwap' && name !== 'put') return value.bind(target);
            return async (...given: never[]) => {
              if (args[0].startsWith(frozen)) {
                held++;
                await until;
              }
              return (value as (...given: never[]) => unknown).apply(target, given);
            };
          },
        });
      },
      close: () => store.close(),
    };
    /** @param table only writes of this table wait */
    const freeze = (table = '') => {
      held = 0;
      frozen = table;
      until = new Promise((resolve) => {
        thaw = resolve;
      });
    };
    return { book: new ObjectRepository(records, id), freeze, thaw: () => thaw(), isHeld: () => held > 0 };
  }

  let store: MemoryRecords;
  let one: ReturnType<typeof node>;
  let two: ReturnType<typeof node>;
  beforeEach(() => {
    store = new MemoryRecords();
    one = node('segments-1', store);
    two = node('segments-2', store);
  });

  it('a node that was frozen before its write gives nothing after the stream went on at the other', async () => {
    const [before, after] = [hex(), hex()];
    await one.book.use(first, before);
    await one.book.give(object, before, slice(0, 8, 0));
    one.freeze();
    const late = one.book.give(object, before, slice(8, 12, 4));
    await expect.poll(one.isHeld).toBe(true);
    expect(await two.book.use(resumed(first, 4), after)).toBe(true);
    await two.book.give(object, after, slice(4, 12, 4));
    one.thaw();
    await expect(late).rejects.toMatchObject(superseded);
    await expect(one.book.give(object, before, slice(12, 16, 8))).rejects.toMatchObject(superseded);
    await two.book.give(object, after, slice(12, 16, 8)); // its counts were not disturbed
  });

  it('give together at most what one node gives, in whatever order they take turns', async () => {
    let given = 0;
    let permit = hex();
    await one.book.use(first, permit);
    for (let turn = 0; turn < 200; turn++) {
      const { book } = turn % 2 === 0 ? two : one;
      permit = hex();
      try {
        await book.use(first, permit);
        await book.give(object, permit, slice(0, 8, 0));
        given += 8;
      } catch (error) {
        expect(error).toMatchObject({ code: 'E_REPLAY' });
      }
    }
    expect(given).toBeLessThanOrEqual(8 + SEGMENTS + 16 * WINDOW);
    expect(given).toBeGreaterThan(SEGMENTS);
  });

  it('begin an object once, with one permit', async () => {
    const [permit, other] = [hex(), hex()];
    one.freeze();
    const late = one.book.use(first, permit);
    await expect.poll(one.isHeld).toBe(true);
    expect(await two.book.use(first, permit)).toBe(true);
    one.thaw();
    expect(await late).toBe(false);
    expect(await two.book.use(resumed(first, 4), other)).toBe(true);
    await expect(one.book.use(first, hex())).rejects.toMatchObject({ code: 'E_REPLAY' });
  });

  it('see an alarm of the other, also if it came while they wrote', async () => {
    const permit = hex();
    await one.book.use(first, permit);
    one.freeze();
    const late = one.book.give(object, permit, slice(0, 8, 0));
    await expect.poll(one.isHeld).toBe(true);
    await two.book.alarm(object);
    one.thaw();
    await expect(late).rejects.toMatchObject({ code: 'E_ALARM' });
    await expect(two.book.use(opening(2), hex())).rejects.toMatchObject({ code: 'E_ALARM' });
  });

  it('begin no more objects of a period than its quota, though one has counted and not begun', async () => {
    const period = { number: 7, from: 0, to: 1, quota: 1 };
    const inPeriod = (number: number) => ({ ...opening(number), period }) as VerifiedOpening;
    const [a, b] = [inPeriod(1), inPeriod(2)];
    one.freeze('object'); // after it has counted, before it begins
    const late = one.book.use(a, hex());
    await expect.poll(one.isHeld).toBe(true);
    await expect(two.book.use(b, hex())).rejects.toMatchObject({ code: 'E_LICENCE_QUOTA' });
    one.thaw();
    expect(await late).toBe(true);
  });
});
