import { systemRandom } from '@millrace/base';
import { generateP256Key, keyName, type MemorySigner, type P256Key } from '@millrace/identity';
import {
  type Machine,
  type MachineDocument,
  registrationHash,
  sha256,
  signMachineDocument,
  type TransactionOf,
} from '@millrace/protocol';
import { codeOf } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it } from 'vitest';
import { takeReport } from '../src/control/reports.ts';
import { settingsFor } from '../src/control/settings.ts';
import { controlFixture } from './control-fixture.ts';
import { peopleFixture } from './people-fixture.ts';

let fixture: Awaited<ReturnType<typeof controlFixture>>;
let people: ReturnType<typeof peopleFixture>;
let bureau: string;
let operator: MemorySigner;
let number: number;
const keys: P256Key[] = [];
const machines: Machine[] = [];

const assign = (machine: Machine, organisation: string) =>
  people
    .sign(fixture.keys.admin, {
      type: 'machine.assign',
      ...{ machine: machine.machine, registration: registrationHash(machine), organisation, number: ++number },
    })
    .then(people.take);

beforeEach(async () => {
  fixture = await controlFixture();
  people = peopleFixture(fixture);
  bureau = await people.organisation('Bureau', 'bureau');
  operator = await people.enrol(bureau, 'operator');
  number = Date.now() - 60_000;
  for (const index of [0, 1]) {
    const key = generateP256Key();
    keys[index] = key;
    machines[index] = await fixture.addMachine(`SN-${index}`, key);
    await assign(machines[index] as Machine, bureau);
  }
});

const id = (index: number) => machines[index]?.machine ?? '';
const set = (by: MemorySigner = operator, changes: Partial<TransactionOf<'machine.settings'>> = {}) =>
  people
    .sign(by, {
      type: 'machine.settings',
      ...{ organisation: bureau, number: ++number, machines: [id(0)], settings: { stallMs: 900 } },
      ...changes,
    })
    .then(people.take);
const recordOf = (index: number) => fixture.context.records.settings.require(id(index));
const next = (index: number) =>
  fixture.context.printQueue.next(fixture.context, id(index), 0, new AbortController().signal);

async function report(index: number, statement: Uint8Array, by = keys[index], caller = id(index)) {
  const document = {
    type: 'settings.report',
    ...{ id: systemRandom(16), issued: Date.now(), expires: Date.now() + 60_000 },
    ...{ machine: id(index), statement: sha256(statement), number: 1, outcome: 'applied' },
  } as MachineDocument;
  const signed = await signMachineDocument(by as P256Key, fixture.context.directory.installation, document);
  return takeReport(fixture.context, caller, signed);
}

describe('settings of machines', () => {
  it('wait for each machine that they name, before other work, until it has reported', async () => {
    await set(operator, { machines: [id(0), id(1)] });
    expect(await next(0)).toMatchObject({ organisation: bureau, number });
    const record = await recordOf(0);
    expect(await settingsFor(fixture.context, record)).toMatchObject({ machine: { machine: id(0) } });
    await report(0, record.transaction);
    expect(await recordOf(0)).toMatchObject({ state: 'applied' });
    expect(await recordOf(1)).toMatchObject({ state: 'pending' });
    expect(await next(0)).toBeUndefined();
  });

  it('keep the former ones that were applied, for a rollback', async () => {
    await set();
    const first = await recordOf(0);
    await report(0, first.transaction);
    await set(operator, { settings: { stallMs: 100 } });
    await set(operator, { settings: { stallMs: 200 } });
    expect(await recordOf(0)).toMatchObject({ state: 'pending', previous: { number: first.number } });
    // A report on other settings than the newest.
    await report(0, first.transaction);
    expect(await recordOf(0)).toMatchObject({ state: 'pending' });
  });

  it('are signed by the organisation that holds all of the machines, in the right role, and are new', async () => {
    const rival = await people.organisation('Rival', 'bureau');
    const admin = await people.enrol(rival, 'owner-admin');
    expect(await codeOf(() => set(admin))).toBe('E_FORBIDDEN');
    expect(await codeOf(() => set(admin, { organisation: rival }))).toBe('E_FORBIDDEN');
    const designer = await people.enrol(bureau, 'designer');
    expect(await codeOf(() => set(designer))).toBe('E_FORBIDDEN');
    const foreign = await fixture.addMachine('SN-9');
    expect(await codeOf(() => set(operator, { machines: [id(0), foreign.machine] }))).toBe('E_FORBIDDEN');
    expect(await fixture.context.records.settings.get(id(0))).toBeUndefined();
    await set();
    expect(await codeOf(() => set(operator, { number }))).toBe('E_CONFLICT');
    expect(await codeOf(() => set(operator, { number: Date.now() + 1e9 }))).toBe('E_CLOCK');
  });

  it('are not given to a machine that another organisation holds now', async () => {
    await set();
    await assign(machines[0] as Machine, await people.organisation('Rival', 'bureau'));
    expect(await settingsFor(fixture.context, await recordOf(0))).toBeUndefined();
    expect(await recordOf(0)).toMatchObject({ state: 'refused', code: 'E_FORBIDDEN' });
    expect(await next(0)).toBeUndefined();
  });

  it('are reported by their machine only', async () => {
    await set();
    const { transaction } = await recordOf(0);
    expect(await codeOf(() => report(0, transaction, keys[1], id(1)))).toBe('E_FORBIDDEN');
    expect(await codeOf(() => report(0, transaction, keys[1], id(0)))).toBe('E_AUTH');
    expect(keyName(keys[0]?.publicKey ?? new Uint8Array())).toBe(id(0));
    expect(await recordOf(0)).toMatchObject({ state: 'pending' });
  });
});
