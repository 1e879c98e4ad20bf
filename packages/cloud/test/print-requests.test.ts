import { systemClock } from '@millrace/base';
import { generateP256Key, keyName } from '@millrace/identity';
import type { Machine } from '@millrace/protocol';
import { beforeEach, describe, expect, it } from 'vitest';
import { callHome, countClaims } from '../src/control/permits.ts';
import { PrintQueue } from '../src/control/print-queue.ts';
import { refuseExpired } from '../src/control/queued-prints.ts';
import { controlFixture } from './control-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

let fixture: Awaited<ReturnType<typeof controlFixture>>;
beforeEach(async () => {
  fixture = await controlFixture();
});
const code = (attempt: Promise<unknown>) =>
  attempt.then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

describe('a print request', () => {
  it('needs a machine that the licence names, with the registration that it names', async () => {
    const [named, other] = [await fixture.addMachine(), await fixture.addMachine()];
    const licence = await fixture.grant(await fixture.stored(await fixture.addDesign(await fixture.prepare())), [
      named,
    ]);
    expect(await code(fixture.print(licence, other))).toBe('E_LICENCE_INVALID');
    expect(await code(fixture.print(licence, named))).toBe('done');
    await fixture.submit('admin', { type: 'machine.register', machine: { ...named, profile: { factor: 9 } } });
    expect(await code(fixture.print(licence, named))).toBe('E_LICENCE_INVALID');
    expect(await fixture.context.printQueue.waiting(fixture.context, 'machine', other.machine)).toEqual([]);
  });

  it('is limited to the objects of the licence, permitted or queued, under concurrent requests', async () => {
    const machines = [await fixture.addMachine(), await fixture.addMachine()] as [Machine, Machine];
    const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
    const licence = await fixture.grant(design, machines, { objects: 3 });
    const asked = Array.from({ length: 20 }, (_, i) => code(fixture.print(licence, machines[i % 2 ? 1 : 0])));
    const codes = await Promise.all(asked);
    expect(codes.filter((one) => one === 'done')).toHaveLength(3);
    expect(new Set(codes)).toEqual(new Set(['done', 'E_LICENCE_EXHAUSTED']));
    // A refused print frees its place. After a restart the prints are counted again.
    const [first] = await fixture.context.printQueue.waiting(fixture.context, 'licence', licence);
    await fixture.context.records.prints.update(first?.print ?? '', (print) => ({ ...print, state: 'refused' }));
    expect(await code(fixture.print(licence, machines[0]))).toBe('done');
    const board = new PrintQueue(systemClock);
    expect(await board.waiting(fixture.context, 'licence', licence)).toHaveLength(3);
  });

  it('is limited to 100 queued prints of one holder on one machine', async () => {
    const [one, other] = [await fixture.addMachine(), await fixture.addMachine()] as [Machine, Machine];
    const design = await fixture.stored(await fixture.addDesign(await fixture.prepare()));
    const licence = await fixture.grant(design, [one, other], { objects: 1_000 });
    for (let i = 0; i < 100; i++) await fixture.print(licence, one);
    expect(await code(fixture.print(licence, one))).toBe('E_QUOTA');
    expect(await code(fixture.print(licence, other))).toBe('done');
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
    const cancel = (who: 'admin' | 'owner' | 'holder') => code(fixture.submit(who, { type: 'print.cancel', print }));
    for (const who of ['admin', 'owner'] as const) expect(await cancel(who)).toBe('E_FORBIDDEN');
    expect(await code(fixture.print(licence, machine))).toBe('E_LICENCE_EXHAUSTED');
    expect(await cancel('holder')).toBe('done');
    expect(await cancel('holder')).toBe('E_STATE');
    const { records, printQueue } = fixture.context;
    expect(await records.prints.require(print)).toMatchObject({ state: 'cancelled', code: 'E_CANCELLED' });
    expect(await printQueue.waiting(fixture.context, 'machine', machine.machine)).toEqual([]);
    expect(await code(fixture.print(licence, machine))).toBe('done');
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
    const machine: Machine = {
      machine: keyName(key.publicKey),
      publicKey: key.publicKey,
      serial: 'SN-1',
      kind: 'virtual',
      profile: { factor: 1 },
    };
    await fixture.submit('admin', { type: 'machine.register', machine });
    const { context } = fixture;
    const design = await fixture.addDesign(await fixture.prepare());
    const licence = await fixture.grant(design, [machine]);
    expect(await code(fixture.print(licence, machine))).toBe('E_STATE');

    // A print that was queued before stays queued.
    await fixture.stored(design);
    const print = await fixture.print(licence, machine);
    await context.records.designs.update(design, (record) => ({ ...record, state: 'uploading' }));
    const home = async () => {
      const wanted = { print, issued: systemClock.now() };
      const request = await signPermitRequest(key, context.directory.installation, wanted);
      return code(callHome(context, machine.machine, request));
    };
    expect(await home()).toBe('E_STATE');
    expect(await countClaims(context, await context.records.licences.require(licence))).toBe(0);
    expect((await context.records.prints.require(print)).state).toBe('queued');
    await fixture.stored(design);
    expect(await home()).not.toBe('E_STATE');
  });
});
