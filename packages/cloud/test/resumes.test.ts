import { ledgerHead } from '@millrace/api';
import { type Bytes, systemRandom, toHex } from '@millrace/base';
import { generateUserKey } from '@millrace/identity';
import {
  type Directory,
  type LoadedSpool,
  signTransaction,
  type Transaction,
  type VerifiedOpening,
} from '@millrace/protocol';
import { MemoryRecords, type RecordStore } from '@millrace/stores';
import { registerKey } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { suspendLicences } from '../src/control/admin.ts';
import { countClaims } from '../src/control/permits.ts';
import { openRecords } from '../src/control/records.ts';
import { Table } from '../src/node/table.ts';
import { keepCounts, suspendLicencesAtNode } from '../src/streaming/admin.ts';
import { ObjectRepository } from '../src/streaming/objects.ts';
import { SpoolGuard } from '../src/streaming/spools.ts';

const OBJECTS = 5;
const hex = () => toHex(systemRandom(16));
const installation = hex();
const machine = hex();
const design = hex();
const restore = hex();
const [admin, owner] = [generateUserKey(), generateUserKey()];
const directory = { installation, adminKey: toHex(admin.publicKey) } as unknown as Directory;

type Body<T> = T extends Transaction ? Omit<T, 'id' | 'issued' | 'expires'> : never;
const sign = (body: Body<Transaction>, id = systemRandom(16), signer = owner, issued = Date.now()) =>
  signTransaction(signer, installation, { ...body, id, issued, expires: issued + 60_000 } as Transaction);

let licence: string;
let grant: Bytes;
beforeEach(async () => {
  const id = systemRandom(16);
  licence = toHex(id);
  const terms = { objects: OBJECTS, machines: [{ machine, registration: new Uint8Array(32) }], materials: [] };
  const dates = { notBefore: 0, notAfter: Date.now() + 60_000 };
  const keys = {
    holder: new Uint8Array(33).fill(2),
    secretHash: new Uint8Array(32),
    telemetryKey: new Uint8Array(65),
    core: new Uint8Array(32),
    disclose: [],
  };
  grant = await sign({ type: 'licence.grant', design, ...terms, ...dates, ...keys }, id);
});

describe('a proactive node whose object counts come from a backup', () => {
  let store: RecordStore;
  let book: ObjectRepository;
  const begun = new Map<number, VerifiedOpening>();

  const opening = (number: number) =>
    ({
      permit: { object: `${licence}-${number}`, print: hex(), machine, licence, design, number },
      request: { run: systemRandom(16), from: 0 },
      transfers: [],
    }) as unknown as VerifiedOpening;
  const use = (number: number, given = opening(number)) => book.use(given, hex());
  const word = async (objects: number, change: { restore?: string; licence?: string } = {}, signer = owner) => ({
    type: 'licence.resume' as const,
    licence: grant,
    licenceSigner: await registerKey(admin, installation, owner.publicKey),
    credential: await registerKey(admin, installation, signer.publicKey),
    transaction: await sign({ type: 'licence.resume', licence, restore, objects, ...change }, systemRandom(16), signer),
  });
  const take = async (message: ReturnType<typeof word>) =>
    book.resume(await message, { directory, ownerOf: () => ({ owner: owner.publicKey }) });

  beforeEach(async () => {
    store = new MemoryRecords();
    book = new ObjectRepository(store);
    begun.set(1, opening(1));
    await use(1, begun.get(1));
    await suspendLicencesAtNode(store, restore, [{ licence, used: 1, most: OBJECTS - 1 }]);
  });

  it('streams nothing of the licence before its owner’s statement, and accepts no other statement', async () => {
    await expect(use(2)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
    await expect(use(1, begun.get(1))).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
    await expect(take(word(2, {}, generateUserKey()))).rejects.toMatchObject({ code: 'E_AUTH' });
    await expect(take(word(2, { licence: hex() }))).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
    await expect(take(word(2, { restore: hex() }))).rejects.toMatchObject({ code: 'E_REPLAY' });
    await expect(take(word(OBJECTS))).rejects.toMatchObject({ code: 'E_INPUT' });
    const clearance = await sign({ type: 'alarm.clear', object: `${licence}-1` });
    await expect(take(word(2).then((message) => ({ ...message, transaction: clearance })))).rejects.toMatchObject({
      code: 'E_FORBIDDEN',
    });
    await expect(use(2)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
  });

  it('then starts only objects that the owner has left, and resumes started ones', async () => {
    await take(word(2));
    for (const number of [2, 3]) await expect(use(number)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
    expect(await use(1, begun.get(1))).toBe(true);
    expect(await use(4)).toBe(true);
    await take(word(2)); // delivered again
    await take(word(4)); // an older statement, or one with too many objects, changes nothing
    await expect(use(3)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
    expect(await use(5)).toBe(true);
  });

  it('a statement for one restore does not apply to a later one', async () => {
    const old = word(3);
    await take(old);
    await suspendLicencesAtNode(store, hex(), [{ licence, used: 1, most: OBJECTS - 1 }]);
    await expect(take(old)).rejects.toMatchObject({ code: 'E_REPLAY' });
    await expect(use(5)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
  });

  describe('and whose credits are lost too', () => {
    const lookup = { directory, ownerOf: () => ({ owner: owner.publicKey }) };
    /** The owner credits an object, so many seconds after its statement. */
    const credit = async (number: number, seconds: number) => {
      const { transaction: _said, type: _type, ...of } = await word(0);
      const body = { type: 'case.decide', object: `${licence}-${number}`, report: new Uint8Array(32), credit: true };
      const issued = Date.now() + seconds * 1_000;
      const transaction = await sign(body as Body<Transaction>, systemRandom(16), owner, issued);
      await book.credit({ ...of, type: 'case.credit', transaction }, lookup);
    };

    it('counts those that come before the statement, which says how many of all objects are left', async () => {
      for (const number of [2, 3]) await credit(number, -60);
      await take(word(1));
      expect(await book.credits(licence)).toBe(2);
      await expect(use(OBJECTS + 1)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
      expect(await use(OBJECTS + 2)).toBe(true);
    });

    it('adds no object for those that control withholds until the statement has come, however often', async () => {
      await take(word(0));
      for (const number of [2, 3, 2, 3]) await credit(number, -60);
      expect(await book.credits(licence)).toBe(0);
      await expect(use(2)).rejects.toMatchObject({ code: 'E_CREDITED' });
      await credit(4, 60);
      expect(await book.credits(licence)).toBe(1);
      // Nor after one more restore, for which a statement says the same.
      const again = hex();
      await suspendLicencesAtNode(store, again, [{ licence, used: OBJECTS, most: 1 }]);
      await credit(5, -60);
      await take(word(0, { restore: again }));
      expect(await book.credits(licence)).toBe(1);
    });

    it('adds no object for a credit of the same millisecond, because nobody knows which came first', async () => {
      vi.useFakeTimers({ now: Date.now(), toFake: ['Date'] });
      await take(word(0));
      await credit(2, 0);
      vi.useRealTimers();
      expect(await book.credits(licence)).toBe(0);
    });

    it('waits for one more statement when a credit may repeat a lost one, and accepts no earlier one', async () => {
      const early = await word(2);
      await take(word(0));
      await credit(1, 60);
      for (const number of [OBJECTS, OBJECTS + 1])
        await expect(use(number)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
      await expect(take(Promise.resolve(early))).rejects.toMatchObject({ code: 'E_REPLAY' });
      await expect(take(word(OBJECTS + 1))).rejects.toMatchObject({ code: 'E_INPUT' });
      await credit(1, 60); // delivered again
      await take(word(1));
      await credit(1, 60);
      await expect(use(OBJECTS)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
      expect(await use(OBJECTS + 1)).toBe(true);
    });

    it('waits too if the backup left no object', async () => {
      const again = hex();
      await suspendLicencesAtNode(store, again, [{ licence, used: OBJECTS, most: 0 }]);
      expect(await use(1, begun.get(1))).toBe(true);
      await credit(2, 0);
      await expect(use(OBJECTS + 1)).rejects.toMatchObject({ code: 'E_LICENCE_SUSPENDED' });
      await take(word(0, { restore: again }));
      await expect(use(OBJECTS + 1)).rejects.toMatchObject({ code: 'E_LICENCE_EXHAUSTED' });
    });

    it('leaves what a credit has added since when the statement is delivered again', async () => {
      const said = word(0);
      await take(said);
      await credit(2, 60);
      await take(said);
      expect(await use(OBJECTS + 1)).toBe(true);
    });
  });

  it('keeps the newest statement on each spool: a spool that was moved is not used on its former machine', async () => {
    const today = new MemoryRecords();
    const spool = hex();
    const load = (on: string, number: number) => ({ spool, load: { machine: on, number } as LoadedSpool['load'] });
    const [before, after] = [load(hex(), 1), load(hex(), 2)];
    for (const records of [store, today]) await new SpoolGuard(records).use(before);
    await new SpoolGuard(today).use(after);
    await new SpoolGuard(store).use(before); // without its present counts, the node would accept this
    await keepCounts(today, store);
    await expect(new SpoolGuard(store).use(before)).rejects.toMatchObject({ code: 'E_MATERIAL' });
    await new SpoolGuard(store).use(after);
  });

  describe.each([
    ['of today', 20, true],
    ['older than the backup', 5, false],
  ])('with a node %s', (_, size, wins) => {
    it('keeps the counts of objects streamed since the backup', async () => {
      const today = new MemoryRecords();
      const heads = (of: RecordStore) => new Table(of, 'ledger-head', ledgerHead);
      await heads(store).create('newest', { size: 10, root: '' });
      await heads(today).create('newest', { size, root: '' });
      const other = new ObjectRepository(today);
      await other.use(opening(1), hex()); // another run than the backup’s
      await other.use(opening(2), hex());
      await other.alarm(`${licence}-2`);
      await keepCounts(today, store);
      await take(word(OBJECTS - 1));
      const again = use(1, begun.get(1));
      if (wins) await expect(again).rejects.toMatchObject({ code: 'E_REPLAY' });
      else expect(await again).toBe(true);
      await expect(use(2)).rejects.toMatchObject({ code: 'E_ALARM' });
      await expect(use(3)).rejects.toMatchObject({ code: 'E_ALARM' });
    });
  });
});

describe('control restored from a backup', () => {
  it('suspends licences with objects left, and refuses their queued prints', async () => {
    const store = new MemoryRecords();
    const records = openRecords(store);
    const [used, lost] = [hex(), hex()];
    for (const id of [licence, used, lost]) {
      const parties = { design, owner: hex(), holder: hex(), transaction: grant, credential: new Uint8Array(1) };
      await records.licences.create(id, {
        licence: id,
        objects: OBJECTS,
        credits: [],
        ...parties,
        lost: id === lost || undefined,
      });
    }
    await records.claims.create(`${licence}/1`, { print: hex() });
    for (let number = 1; number <= OBJECTS; number++)
      await records.claims.create(`${used}/${number}`, { print: hex() });
    const prints = [
      { print: hex(), licence, state: 'queued' as const },
      { print: hex(), licence, state: 'running' as const },
      { print: hex(), licence: used, state: 'queued' as const },
    ];
    for (const print of prints) {
      const rest = {
        design,
        machine,
        owner: hex(),
        holder: hex(),
        created: 0,
        startBy: 4_000_000_000_000,
        transaction: grant,
        credential: new Uint8Array(1),
      };
      await records.prints.create(print.print, { ...print, ...rest });
    }
    const first = { licence, used: 1, most: OBJECTS - 1 };
    const other = { licence: used, used: OBJECTS, most: 0 };
    // Interrupted and repeated.
    for (let i = 0; i < 2; i++) expect(new Set(await suspendLicences(store, restore))).toEqual(new Set([first, other]));
    const suspended = await Promise.all(
      [licence, used, lost].map(async (id) => (await records.licences.get(id))?.suspended),
    );
    expect(suspended).toEqual([restore, undefined, undefined]);
    const states = await Promise.all(prints.map(async ({ print }) => (await records.prints.get(print))?.state));
    expect(states).toEqual(['refused', 'running', 'queued']);
  });

  it('counts from the number that the owner has left', async () => {
    const records = openRecords(new MemoryRecords());
    const parties = { design, owner: hex(), holder: hex(), transaction: grant, credential: new Uint8Array(1) };
    const record = { licence, objects: OBJECTS, credits: [], ...parties };
    await records.claims.create(`${licence}/1`, { print: hex() });
    expect(await countClaims({ records }, record)).toBe(1);
    expect(await countClaims({ records }, { ...record, floor: 3 })).toBe(3);
    await records.claims.create(`${licence}/4`, { print: hex() });
    expect(await countClaims({ records }, { ...record, floor: 3 })).toBe(4);
    expect(await countClaims({ records }, { ...record, floor: OBJECTS })).toBe(OBJECTS);
  });
});
