import { systemClock } from '@millrace/base';
import { generateP256Key, keyName } from '@millrace/identity';
import type { Machine } from '@millrace/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { callHome, countClaims } from '../src/control/permits.ts';
import { PrintQueue } from '../src/control/print-queue.ts';
import { refuseExpired } from '../src/control/queued-prints.ts';
import { codeOf, controlFixture } from './control-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

let fixture: Awaited<ReturnType<typeof controlFixture>>;
beforeEach(async () => {
  fixture = await controlFixture();
});

describe('a print request', () => {
  it('needs a machine that the licence names, with the registration that it names', async () => {
    const [named, other] = [await fixture.addMachine(), await fixture.addMachine()];
    const licence = await fixture.grant(await fixture.stored(await fixture.addDesign(await fixture.prepare())), [
      named,
    ]);
    expect(await codeOf(fixture.print(licence, other))).toBe('E_LICENCE_INVALID');
    expect(await codeOf(fixture.print(licence, named))).toBe('done');
    await fixture.submit('admin', { type: 'machine.register', machine: { ...named, profile: { factor: 9 } } });
    expect(await codeOf(fixture.print(licence, named))).toBe('E_LICENCE_INVALID');
    expect(await fixture.context.printQueue.waiting(fixture.context, 'machine', other.machine)).toEqual([]);
  });

  it('is limited to the objects of the licence, permitted or queued, under concurrent requests', async () => {
    const machines = [await fixture.addMachine(), await fixture.addMachine()] as [Machine, Machine];
    const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
    const licence = await fixture.grant(design, machines, { objects: 3 });
    const asked = Array.from({ length: 20 }, (_, i) => codeOf(fixture.print(licence, machines[i % 2 ? 1 : 0])));
    const codes = await Promise.all(asked);
    expect(codes.filter((one) => one === 'done')).toHaveLength(3);
    expect(new Set(codes)).toEqual(new Set(['done', 'E_LICENCE_EXHAUSTED']));
    // A refused print frees its place. After a restart the prints are counted again.
    const [first] = await fixture.context.printQueue.waiting(fixture.context, 'licence', licence);
    await fixture.context.records.prints.update(first?.print ?? '', (print) => ({ ...print, state: 'refused' }));
    expect(await codeOf(fixture.print(licence, machines[0]))).toBe('done');
    const board = new PrintQueue(systemClock);
    expect(await board.waiting(fixture.context, 'licence', licence)).toHaveLength(3);
  });

  it('is limited to 100 queued prints of one holder on one machine', async () => {
    const [one, other] = [await fixture.addMachine(), await fixture.addMachine()] as [Machine, Machine];
    const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
    const licence = await fixture.grant(design, [one, other], { objects: 1_000 });
    for (let i = 0; i < 100; i++) await fixture.print(licence, one);
    expect(await codeOf(fixture.print(licence, one))).toBe('E_QUOTA');
    expect(await codeOf(fixture.print(licence, other))).toBe('done');
  });
});

describe('a queued print', () => {
  it('can be cancelled only by its holder, once, and uses no object', async () => {
    const machine = await fixture.addMachine();
    const licence = await fixture.grant(
      await fixture.stored(await fixture.addDesign(await fixture.prepare())),
      [machine],
      {
        objects: 1,
      },
    );
    const print = await fixture.print(licence, machine);
    const cancel = (who: 'admin' | 'owner' | 'holder') => codeOf(fixture.submit(who, { type: 'print.cancel', print }));
    for (const who of ['admin', 'owner'] as const) expect(await cancel(who)).toBe('E_FORBIDDEN');
    expect(await codeOf(fixture.print(licence, machine))).toBe('E_LICENCE_EXHAUSTED');
    expect(await cancel('holder')).toBe('done');
    expect(await cancel('holder')).toBe('E_STATE');
    const { records, printQueue } = fixture.context;
    expect(await records.prints.require(print)).toMatchObject({ state: 'cancelled', code: 'E_CANCELLED' });
    expect(await printQueue.waiting(fixture.context, 'machine', machine.machine)).toEqual([]);
    expect(await codeOf(fixture.print(licence, machine))).toBe('done');
  });

  it('is moved before the other prints of its holder, and not before those of others', async () => {
    const machine = await fixture.addMachine();
    const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
    const licence = await fixture.grant(design, [machine], { objects: 9 });
    const { context } = fixture;
    const { records, printQueue } = context;
    const prints = [];
    for (let i = 0; i < 4; i++) prints.push(await fixture.print(licence, machine));
    const [others, one, two, three] = prints as [string, string, string, string];
    await records.prints.update(others, (print) => ({ ...print, holder: keyName(fixture.keys.owner.publicKey) }));
    // All four may have been requested in the same millisecond.
    for (const [i, print] of prints.entries())
      await records.prints.update(print, (now) => ({ ...now, created: 10 + i }));
    const order = async () => (await printQueue.waiting(context, 'machine', machine.machine)).map(({ print }) => print);
    expect(await order()).toEqual([others, one, two, three]);
    const first = (who: 'admin' | 'owner' | 'holder', print: string) =>
      codeOf(fixture.submit(who, { type: 'print.first', print }));
    for (const who of ['admin', 'owner'] as const) expect(await first(who, three)).toBe('E_FORBIDDEN');
    expect(await first('holder', three)).toBe('done');
    expect(await order()).toEqual([others, three, one, two]);
    for (const print of [two, two, one]) expect(await first('holder', print)).toBe('done');
    expect(await order()).toEqual([others, one, two, three]);
    const next = new PrintQueue(systemClock).next(context, machine.machine, 0, new AbortController().signal);
    expect((await next)?.print).toBe(others);
    await records.prints.update(one, (print) => ({ ...print, number: 1 })); // about to be permitted
    expect(await first('holder', one)).toBe('E_STATE');
    expect(await first('holder', three)).toBe('done');
    expect(await order()).toEqual([others, three, one, two]);
  });

  it('is never moved before a print of another holder that waits between those of its own', async () => {
    const machine = await fixture.addMachine();
    const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
    const licence = await fixture.grant(design, [machine], { objects: 9 });
    const { context } = fixture;
    const { records, printQueue } = context;
    const [one, others, two, three] = [
      await fixture.print(licence, machine),
      await fixture.print(licence, machine),
      await fixture.print(licence, machine),
      await fixture.print(licence, machine),
    ];
    for (const [after, print] of [one, others, two, three].entries())
      await records.prints.update(print, (now) => ({ ...now, created: now.created + after }));
    await records.prints.update(others, (print) => ({ ...print, holder: 'ab'.repeat(16) }));
    const order = async () => (await printQueue.waiting(context, 'machine', machine.machine)).map(({ print }) => print);
    const turns: string[][] = [];
    for (const print of [two, three, one, three, two]) {
      expect(await codeOf(fixture.submit('holder', { type: 'print.first', print }))).toBe('done');
      turns.push(await order());
    }
    expect(turns).toEqual([
      [two, others, one, three],
      [three, others, two, one],
      [one, others, three, two],
      [three, others, one, two],
      [two, others, three, one],
    ]);
  });

  it('is refused once it has expired, also while its machine is offline, and is given to no machine', async () => {
    const machine = await fixture.addMachine();
    const licence = await fixture.grant(await fixture.stored(await fixture.addDesign(await fixture.prepare())), [
      machine,
    ]);
    const [print, taken] = [await fixture.print(licence, machine), await fixture.print(licence, machine)];
    const { records } = fixture.context;
    const { startBy, created } = await records.prints.require(print);
    expect(startBy - created).toBe(600_000); // the validity that its holder signed
    await records.prints.update(taken, (record) => ({ ...record, number: 1 })); // killed while it took an object
    const clock = { now: () => startBy + 1, monotonic: systemClock.monotonic };
    const queue = new PrintQueue(clock);
    const next = () => queue.next(fixture.context, machine.machine, 0, new AbortController().signal);
    expect((await next())?.print).toBe(taken);
    await refuseExpired({ records, clock: { ...clock, now: () => created } });
    expect((await records.prints.require(print)).state).toBe('queued');
    await refuseExpired({ records, clock });
    expect(await records.prints.require(print)).toMatchObject({ state: 'refused', code: 'E_EXPIRED' });
    expect((await records.prints.require(taken)).state).toBe('queued');
  });
});

describe('a design that is not stored yet', () => {
  it('cannot be printed, and takes no object of its licence', async () => {
    const key = generateP256Key();
    const machine = await fixture.addMachine('SN-1', key);
    const { context } = fixture;
    const design = await fixture.addDesign(await fixture.prepare());
    const licence = await fixture.grant(design, [machine]);
    expect(await codeOf(fixture.print(licence, machine))).toBe('E_STATE');

    // A print that was queued before stays queued.
    await fixture.stored(design);
    const print = await fixture.print(licence, machine);
    await context.records.designs.update(design, (record) => ({ ...record, state: 'uploading' }));
    const home = async () => {
      const wanted = { print, issued: systemClock.now() };
      const request = await signPermitRequest(key, context.directory.installation, wanted);
      return codeOf(callHome(context, machine.machine, request));
    };
    expect(await home()).toBe('E_STATE');
    expect(await countClaims(context, await context.records.licences.require(licence))).toBe(0);
    expect((await context.records.prints.require(print)).state).toBe('queued');
    await fixture.stored(design);
    expect(await home()).not.toBe('E_STATE');
  });
});
