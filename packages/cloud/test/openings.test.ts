import type { PageQuery } from '@millrace/api';
import { fromBase64, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, keyName } from '@millrace/identity';
import { decodeOpening, type LoggedEvent } from '@millrace/ledger';
import { type Machine, objectId } from '@millrace/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { openingsPage, ReadableLists } from '../src/control/ledger-openings.ts';
import { callHome } from '../src/control/permits.ts';
import { mayRead } from '../src/control/readable-accounts.ts';
import { userActor } from '../src/node/policy.ts';
import { controlFixture, type UserName } from './control-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

const FOREIGN = 200;
let fixture: Awaited<ReturnType<typeof controlFixture>>;
let machine: Machine;
let design: string;
let licence: string;
let object: string;
/** Entries read through the ledger. */
let reads = 0;

beforeEach(async () => {
  fixture = await controlFixture();
  const { context } = fixture;
  const key = generateP256Key();
  machine = {
    ...{ machine: keyName(key.publicKey), publicKey: key.publicKey, serial: 'SN-1' },
    ...{ kind: 'virtual', profile: { factor: 1 } },
  };
  await fixture.submit('admin', { type: 'machine.register', machine });
  design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
  licence = await fixture.grant(design, [machine], { objects: 3 });
  await foreign('early');
  const print = await fixture.print(licence, machine, 'holder');
  const request = { print, issued: context.clock.now(), run: systemRandom(16) };
  await callHome(context, machine.machine, await signPermitRequest(key, context.directory.installation, request));
  object = objectId(licence, 1);
  await foreign('late');
  countReads();
});

/** Objects of a licence that no caller has. */
async function foreign(label: string): Promise<void> {
  const other = toHex(systemRandom(16));
  await fixture.context.ledger.appendMany(
    Array.from({ length: FOREIGN }, (_, i) => ({
      ...{ account: objectId(other, i + 1), type: 'ordered', actor: 'other', body: {} },
      eventId: `${label}/${i}`,
    })),
  );
}

function countReads(): void {
  const { ledger } = fixture.context;
  const count = (logged: LoggedEvent) => {
    reads += 1;
    return logged;
  };
  reads = 0;
  const counting = {
    entry: async (index: number) => count(await ledger.entry(index)),
    account: async (id: string) => (await ledger.account(id)).map(count),
    events: async function* (from: number) {
      for await (const logged of ledger.events(from)) yield count(logged);
    },
  };
  const counted = new Proxy(ledger, {
    get: (_, name) => {
      const value = name in counting ? counting[name as keyof typeof counting] : Reflect.get(ledger, name, ledger);
      return typeof value === 'function' ? value.bind(ledger) : value;
    },
  });
  Object.assign(fixture.context, { ledger: counted });
}

const nameOf = (who: UserName) => keyName(fixture.keys[who].publicKey);
const actor = (who: UserName) => userActor(fixture.context.directory, nameOf(who));
const page = (who: UserName, query: PageQuery, lists: ReadableLists) =>
  openingsPage(fixture.context, actor(who), query, lists);

/** All openings, page by page. */
async function list(
  who: UserName,
  limit: number,
): Promise<{ indices: number[]; accounts: Set<string>; pages: number }> {
  const lists = new ReadableLists();
  const indices: number[] = [];
  const accounts = new Set<string>();
  let cursor: string | undefined;
  let pages = 0;
  do {
    const before = reads;
    const { items, next } = await page(who, { limit, ...(cursor === undefined ? {} : { cursor }) }, lists);
    expect(reads - before).toBeLessThanOrEqual(limit);
    for (const { index, opening } of items) {
      indices.push(index);
      accounts.add(decodeOpening(fromBase64(opening), index).event.account);
    }
    cursor = next;
    pages += 1;
  } while (cursor !== undefined);
  return { indices, accounts, pages };
}

/** Indices of all entries that the policy lets the user read, found by looking at each. */
async function permitted(who: UserName): Promise<number[]> {
  const { ledger } = fixture.context;
  const indices: number[] = [];
  for await (const { index, event } of ledger.events(0))
    if (await mayRead(fixture.context, actor(who), await ledger.head(event.account))) indices.push(index);
  return indices;
}

describe('openings of a party with few entries among many of others', () => {
  it.each([1, 3, 200])('are read by pages of %i without the entries of others', async (limit) => {
    const { indices, accounts, pages } = await list('holder', limit);
    expect(accounts).toEqual(new Set([`machine:${machine.machine}`, `licence:${licence}`, object]));
    expect(indices).toEqual(await permitted('holder'));
    expect(pages).toBeLessThanOrEqual(Math.ceil(indices.length / limit) + 1);
  });

  it('are all that the policy permits, for owners, holders, owners of parts, inspectors and visitors', async () => {
    const { records, ledger } = fixture.context;
    const [claimed] = (await records.prints.page({ limit: 1 })).records;
    await records.prints.update(claimed?.[0] ?? '', (print) => ({
      ...print,
      life: { partOwner: nameOf('other'), inspectors: [nameOf('approver')], retired: false },
    }));
    const visit = toHex(systemRandom(16));
    await records.visits.create(visit, {
      ...{ visit, cloud: visit, print: visit, licence: visit, machine: machine.machine, visitor: nameOf('other') },
      ...{ created: 0, startBy: 0, state: 'completed', transaction: new Uint8Array() },
    });
    const account = `visit:${visit}`;
    await ledger.append({ account: `design:${design}`, type: 'stored', actor: 'owner', body: {}, eventId: 'stored' });
    await ledger.append({ account, type: 'ordered', actor: 'other', body: {}, eventId: 'visit' });
    for (const who of ['admin', 'owner', 'holder', 'approver', 'other'] as const) {
      const { indices, accounts } = await list(who, 4);
      expect(indices).toEqual(await permitted(who));
      expect([accounts.has(account), accounts.has(object), accounts.has(`design:${design}`)]).toEqual([
        who === 'admin' || who === 'other',
        who !== 'admin',
        who === 'owner',
      ]);
    }
  });

  it('end with the right to read them, between two pages, and begin for the party that gets it', async () => {
    const lists = new ReadableLists();
    const { items, next } = await page('holder', { limit: 1 }, lists);
    expect(items).toHaveLength(1);
    const { records } = fixture.context;
    const holder = nameOf('other');
    await records.licences.update(licence, (record) => ({ ...record, holder }));
    for (const [id] of (await records.prints.page({ limit: 10 })).records)
      await records.prints.update(id, (record) => ({ ...record, holder }));
    expect(next).toBeDefined();
    expect((await page('holder', { limit: 10, cursor: next ?? '' }, lists)).items).toEqual([]);
    expect((await list('other', 10)).accounts).toContain(object);
  });

  it('include what was appended while pages were read', async () => {
    const lists = new ReadableLists();
    const { next } = await page('holder', { limit: 2 }, lists);
    const event = { account: object, type: 'alarmed', actor: 'control', body: {}, eventId: 'later' } as const;
    const { index } = await fixture.context.ledger.append(event);
    const found: number[] = [];
    for (let cursor = next; cursor !== undefined; ) {
      const more = await page('holder', { limit: 2, cursor }, lists);
      found.push(...more.items.map((item) => item.index));
      cursor = more.next;
    }
    expect(found.at(-1)).toBe(index);
  });
});
