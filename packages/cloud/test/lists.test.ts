import { systemRandom, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { beforeEach, describe, expect, it } from 'vitest';
import type { PrintRecord } from '../src/control/records.ts';
import { designsPage, licencesPage, machinesPage, objectsPage, printsPage } from '../src/control/views.ts';
import { controlFixture } from './control-fixture.ts';
import { signedPrint } from './signed-print.ts';

const id = () => toHex(systemRandom(16));
const named = (name: string) => ({ role: 'user', name, admin: false }) as const;

let fixture: Awaited<ReturnType<typeof controlFixture>>;
let owner: string;
let holder: string;
let design: string;
let licence: string;
beforeEach(async () => {
  fixture = await controlFixture();
  owner = keyName(fixture.keys.owner.publicKey);
  holder = keyName(fixture.keys.holder.publicKey);
  design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
  licence = await fixture.grant(design, [await fixture.addMachine()]);
});

async function addPrint(created: number, more: Partial<PrintRecord> = {}): Promise<string> {
  const print = id();
  const machine = id();
  const transaction = await signedPrint(fixture.keys.holder, fixture.context.directory.installation, {
    licence,
    machine,
  });
  const common = { licence, design, machine, owner, holder, transaction, credential: new Uint8Array(1) };
  await fixture.context.records.prints.create(print, {
    ...common,
    print,
    created,
    startBy: 4_000_000_000_000,
    state: 'completed',
    ...more,
  });
  return print;
}

async function pages<V>(
  limit: number,
  list: (query: { limit: number; cursor?: string }) => Promise<{ items: V[]; next?: string | undefined }>,
) {
  const found: V[][] = [];
  for (let cursor: string | undefined; ; ) {
    const { items, next } = await list({ limit, ...(cursor !== undefined && { cursor }) });
    found.push(items);
    if (next === undefined) return found;
    cursor = next;
  }
}

describe('a list', () => {
  it('of prints is paged, newest first, for owner and holder only', async () => {
    const prints = [await addPrint(3), await addPrint(1), await addPrint(2)];
    await addPrint(9, { owner: id(), holder: id() });
    const own = await addPrint(4, { holder: owner });
    const names = async (user: string, limit: number) =>
      (await pages(limit, (query) => printsPage(fixture.context, named(user), query))).map((page) =>
        page.map(({ print }) => print),
      );
    expect(await names(owner, 3)).toEqual([[own, prints[0], prints[2]], [prints[1]]]);
    expect(await names(holder, 2)).toEqual([[prints[0], prints[2]], [prints[1]]]);
    expect(await names(id(), 2)).toEqual([[]]);
  });

  it('of objects contains the prints that have taken an object', async () => {
    await addPrint(1);
    const object = `${licence}-1`;
    await addPrint(2, { object, number: 1 });
    const fact = { account: object, type: 'ordered' as const, actor: owner, body: { design } };
    await fixture.context.ledger.append({ ...fact, eventId: 'one' });
    for (const user of [owner, holder])
      expect(await objectsPage(fixture.context, named(user), { limit: 5 })).toMatchObject({ items: [{ object }] });
    expect(await objectsPage(fixture.context, named(id()), { limit: 5 })).toEqual({ items: [] });
  });

  it('of designs, licences and machines is paged', async () => {
    const { context } = fixture;
    const second = await fixture.addDesign(await fixture.prepare());
    const other = await fixture.grant(design, [await fixture.addMachine()]);
    const designs = await pages(1, (query) => designsPage(context, named(owner), query));
    expect(designs.flat().map((view) => view.design)).toEqual([design, second].sort());
    expect(designs).toHaveLength(2);
    expect(await designsPage(context, named(holder), { limit: 5 })).toEqual({ items: [] });
    for (const user of [owner, holder]) {
      const licences = await pages(1, (query) => licencesPage(context, named(user), query));
      expect(licences.flat().map((view) => view.licence)).toEqual([licence, other].sort());
    }
    expect((await pages(1, (query) => machinesPage(context, query))).map((page) => page.length)).toEqual([1, 1]);
  });

  it('skips a record that cannot be read, and continues after it', async () => {
    const [older, damaged, newer] = [await addPrint(1), await addPrint(2), await addPrint(3)];
    await fixture.store.collection('print').put(damaged, systemRandom(30));
    const found = await pages(1, (query) => printsPage(fixture.context, named(owner), query));
    expect(found.flat().map(({ print }) => print)).toEqual([newer, older]);
    expect(fixture.context.damaged.list()).toMatchObject([{ table: 'print', id: damaged, code: 'E_STORE' }]);
  });

  it('rejects a cursor that it did not issue', async () => {
    for (const cursor of ['AAAA', 'A'.repeat(300)])
      await expect(printsPage(fixture.context, named(owner), { limit: 1, cursor })).rejects.toMatchObject({
        code: 'E_INPUT',
      });
  });
});
