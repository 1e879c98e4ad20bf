import { systemRandom, toHex } from '@millrace/base';
import { generateUserKey } from '@millrace/identity';
import { type Attested, type Directory, signTransaction, type VerifiedOpening } from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
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
  const give = (from: number, to: number, acked: number) =>
    book.give(object, { from, to, acked, segments: SEGMENTS, window: WINDOW });
  const refused = { code: 'E_REPLAY' };

  it('has one print, and a print has one object', async () => {
    const print = hex();
    expect(await book.use(opening(1, { print }), hex())).toBe(true);
    await expect(book.use(opening(2, { print }), hex())).rejects.toMatchObject(refused);
    await expect(book.use(opening(1, { print: hex() }), hex())).rejects.toMatchObject(refused);
  });

  it('has started once a session of it has started', async () => {
    expect(await book.begun(object)).toBe(false);
    await book.use(first, hex());
    expect(await book.begun(object)).toBe(true);
    expect(await book.begun(`${licence}-2`)).toBe(false);
  });

  it('rejects a session below the acknowledged segment, also after a restart of the process', async () => {
    const store = new MemoryRecords();
    book = new ObjectRepository(store);
    await book.use(first, hex());
    await book.reach(object, 7);
    await book.reach(object, 3);
    book = new ObjectRepository(store);
    await expect(book.use(resumed(first, 6), hex())).rejects.toMatchObject(refused);
    await expect(book.use(first, hex())).rejects.toMatchObject(refused);
    expect(await book.use(resumed(first, 7), hex())).toBe(true);
  });

  it('records the acknowledged segment with each slice', async () => {
    await book.use(first, hex());
    await give(0, 4, 0);
    await give(4, 6, 2);
    await expect(book.use(resumed(first, 1), hex())).rejects.toMatchObject(refused);
    expect(await book.use(resumed(first, 2), hex())).toBe(true);
  });

  it('rejects a session that starts below an earlier session', async () => {
    await book.use(first, hex());
    await book.use(resumed(first, 5), hex());
    await expect(book.use(resumed(first, 4), hex())).rejects.toMatchObject(refused);
    await expect(give(4, 6, 0)).rejects.toMatchObject(refused);
  });

  it('is streamed completely once; lost connections can repeat two windows and no more', async () => {
    await book.use(first, hex());
    for (let from = 0; from < SEGMENTS; from += 4) await give(from, from + 4, from);
    for (const _ of [1, 2]) {
      await book.use(resumed(first, 16), hex());
      await give(16, 20, 16);
    }
    await book.use(resumed(first, 16), hex());
    await expect(give(16, 20, 16)).rejects.toMatchObject(refused);
    await expect(give(19, 20, 16)).rejects.toMatchObject(refused);
    await expect(book.use(first, hex())).rejects.toMatchObject(refused);
  });

  it('with a single segment is streamed once', async () => {
    await book.use(first, hex());
    const only = { from: 0, to: 1, acked: 0, segments: 1, window: WINDOW };
    await book.give(object, only);
    await book.use(first, hex());
    await expect(book.give(object, only)).rejects.toMatchObject(refused);
  });

  it('ends when its connection breaks repeatedly without progress', async () => {
    await book.use(first, hex());
    const once = async () => {
      await book.use(first, hex());
      await give(0, 4, 0);
    };
    for (let times = 0; times < 22; times++) await once();
    await expect(once()).rejects.toMatchObject(refused);
  });

  it('gets nothing more in the alarm state', async () => {
    await book.use(first, hex());
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
