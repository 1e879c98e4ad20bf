import { type Bytes, concatBytes, encodeCbor, systemClock, systemRandom, toHex, u64be } from '@millrace/base';
import { generateUserKey } from '@millrace/identity';
import type { EventRequest } from '@millrace/ledger';
import type { PageOptions } from '@millrace/stores';
import { registerKey } from '@millrace/testkit/protocol/support';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { lookForDamaged } from '../src/control/damaged.ts';
import { finishInterrupted } from '../src/control/interrupted.ts';
import { requireSizes } from '../src/control/limits.ts';
import { PrintQueue } from '../src/control/print-queue.ts';
import type { DesignRecord, PrintRecord } from '../src/control/records.ts';
import { controlFixture } from './control-fixture.ts';

type TestInstallation = Awaited<ReturnType<typeof controlFixture>>;
let fixture: TestInstallation;
beforeEach(async () => {
  fixture = await controlFixture();
});

async function all<T>(list: AsyncIterable<readonly [string, T]>): Promise<string[]> {
  const ids: string[] = [];
  for await (const [id] of list) ids.push(id);
  return ids;
}
const depth = async () => (await fixture.queue.depth('keys-1')) + (await fixture.queue.depth('segments-1'));

/** Expects the attempt to leave no record and no mail, also after a restart of control. */
async function leavesNothing(attempt: Promise<unknown>, code: string): Promise<void> {
  const { records } = fixture.context;
  const before = [
    await all(records.designs.list()),
    await all(records.privates.list()),
    await all(records.licences.list()),
  ];
  const mail = await depth();
  await expect(attempt).rejects.toMatchObject({ code });
  expect([
    await all(records.designs.list()),
    await all(records.privates.list()),
    await all(records.licences.list()),
  ]).toEqual(before);
  expect(await depth()).toBe(mail);
  await finishInterrupted(fixture.context);
  expect(fixture.context.damaged.list()).toEqual([]);
}

describe('a rejected request leaves no record', () => {
  it('a design with 33 MiB of keys, with one key too many, with none', async () => {
    const prepared = await fixture.prepare();
    for (const keys of [systemRandom(33 << 20), systemRandom(prepared.keys.length + 200), systemRandom(32)])
      await leavesNothing(fixture.addDesign({ ...prepared, keys }), 'E_INPUT');
    await fixture.addDesign(prepared);
    expect(await depth()).toBe(2);
  });

  it('a design that was already added', async () => {
    const prepared = await fixture.prepare();
    await fixture.addDesign(prepared);
    await leavesNothing(fixture.addDesign(prepared), 'E_CONFLICT');
  });

  it('a licence that names a machine twice or 1,000 times, or too many machines', async () => {
    const design = await fixture.addDesign(await fixture.prepare());
    const machine = await fixture.addMachine();
    for (const count of [2, 1_000]) {
      const same = new Array<typeof machine>(count).fill(machine);
      await leavesNothing(fixture.grant(design, same), 'E_INPUT');
    }
    const many = Array.from({ length: 201 }, () => ({ ...machine, machine: toHex(systemRandom(16)) }));
    await leavesNothing(fixture.grant(design, many), 'E_INPUT');
  });

  it('a licence whose sealed secret is too long', async () => {
    const design = await fixture.addDesign(await fixture.prepare());
    const machine = await fixture.addMachine();
    await leavesNothing(
      fixture.grant(design, [machine], { secret: concatBytes(u64be(7n), systemRandom(20 << 20)) }),
      'E_INPUT',
    );
  });

  it('a request with an event or a message that would be too long', () => {
    const event: EventRequest = {
      account: `licence:${'1'.repeat(32)}`,
      type: 'licensed',
      actor: 'a',
      body: {},
      evidence: [systemRandom(65_000)],
      eventId: 'licence/1',
    };
    requireSizes([event], []);
    const longer = { ...event, evidence: [systemRandom(65_400)] };
    expect(() => requireSizes([event, longer], [])).toThrow(expect.objectContaining({ code: 'E_TOO_LARGE' }));
    const message = { type: 'vault', message: systemRandom(33 << 20) } as const;
    expect(() => requireSizes([], [message])).toThrow(expect.objectContaining({ code: 'E_TOO_LARGE' }));
  });

  it('the largest allowed licence is granted', async () => {
    const design = await fixture.addDesign(await fixture.prepare());
    const machines: Awaited<ReturnType<TestInstallation['addMachine']>>[] = [];
    for (let i = 0; i < 200; i++) machines.push(await fixture.addMachine());
    const materials = Array.from({ length: 100 }, (_, i) => `${i}`.padEnd(64, '材'));
    expect(await fixture.grant(design, machines, { materials })).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe('a damaged record', () => {
  const bytes = systemRandom(8);
  let signed: Bytes;
  beforeAll(async () => {
    signed = await registerKey(generateUserKey(), id(9), new Uint8Array(33));
  });
  const design = (id: string, keys = systemRandom(100)): DesignRecord => ({
    design: id,
    owner: id,
    ownerKey: new Uint8Array(33),
    name: 'a design',
    core: bytes,
    custody: 'owner',
    kind: 'binary',
    size: 1,
    segments: 1,
    contentMac: new Uint8Array(32),
    state: 'uploading',
    transaction: signed,
    credential: bytes,
    pending: { manifest: bytes, keys },
  });
  const id = (digit: number) => String(digit).repeat(32);

  it('does not keep control from starting: it is skipped and reported, the other records are processed', async () => {
    const { context, store, queue } = fixture;
    const { records } = context;
    for (const user of [id(1), id(3)])
      await records.users.create(user, { user, name: 'u', publicKey: new Uint8Array(33), document: bytes });
    await records.designs.create(id(1), design(id(1), systemRandom(33 << 20)));
    await store.collection('design').put(id(2), encodeCbor({ design: 'nonsense' }));
    await records.designs.create(id(3), design(id(3)));
    await store.collection('print').put(id(6), systemRandom(30));

    await finishInterrupted(context);
    await lookForDamaged(records, new AbortController().signal);
    expect(context.damaged.list().map(({ table, id: name, code }) => [table, name, code])).toEqual(
      expect.arrayContaining([
        ['design', id(1), 'E_TOO_LARGE'],
        ['design', id(2), 'E_STORE'],
        ['print', id(6), 'E_STORE'],
      ]),
    );
    expect(context.damaged.list()).toHaveLength(3);
    expect(await queue.depth('segments-1')).toBe(1); // the message for the third design
    expect((await records.designs.get(id(3)))?.pending).toBeUndefined();
  });

  it('is left out of lists and of the queue of its machine', async () => {
    const { context, store } = fixture;
    const { records } = context;
    const machine = id(7);
    const print = (name: string, created: number): PrintRecord => {
      const common = {
        licence: id(1),
        design: id(1),
        owner: id(1),
        holder: id(1),
        transaction: bytes,
        credential: bytes,
      };
      return { print: name, machine, created, startBy: 4_000_000_000_000, state: 'queued', ...common };
    };
    for (const [name, created] of [
      [id(1), 1],
      [id(2), 2],
    ] as const)
      await records.prints.create(name, print(name, created));
    const board = new PrintQueue(systemClock);
    await store.collection('print').put(id(1), systemRandom(30));
    expect((await board.next(context, machine, 0, new AbortController().signal))?.print).toBe(id(2));
    expect(await all(records.prints.list())).toEqual([id(2)]);
    expect(context.damaged.list()).toMatchObject([{ table: 'print', id: id(1), code: 'E_STORE' }]);
  });
});

it('a start reads what is unfinished, not what was ever made', async () => {
  const { records } = fixture.context;
  const prepared = await fixture.prepare();
  for (let i = 0; i < 3; i++) await fixture.addDesign(await fixture.prepare());
  const design = await fixture.addDesign(prepared);
  const finished = await records.designs.require(design);
  expect(finished.pending).toBeUndefined();
  await records.designs.update(design, (current) => ({
    ...current,
    pending: { manifest: prepared.manifest, keys: prepared.keys },
  }));
  let read = 0;
  for (const table of [records.designs, records.licences, records.machines, records.prints, records.claims]) {
    const page = table.page.bind(table) as (options: PageOptions) => Promise<{ records: readonly unknown[] }>;
    table.page = (async (options: PageOptions) => {
      const found = await page(options);
      read += found.records.length;
      return found;
    }) as never;
  }
  await finishInterrupted(fixture.context);
  expect(read).toBe(1);
  expect((await records.designs.require(design)).pending).toBeUndefined();
});
