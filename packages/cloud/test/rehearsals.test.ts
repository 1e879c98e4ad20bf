import { systemRandom, toHex } from '@millrace/base';
import { generateP256Key, type P256Key } from '@millrace/identity';
import {
  MAX_REHEARSALS,
  type Machine,
  type MachineDocument,
  type RehearsalResult,
  readTransaction,
  registrationHash,
  SEALED_SECRET_BYTES,
  sha256,
  signMachineDocument,
} from '@millrace/protocol';
import { codeOf } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it } from 'vitest';
import { rehearsalFor } from '../src/control/rehearsals.ts';
import { takeReport } from '../src/control/reports.ts';
import { controlFixture } from './control-fixture.ts';

const key = generateP256Key();
let control: Awaited<ReturnType<typeof controlFixture>>;
let machine: Machine;
let design: string;
let licence: string;

beforeEach(async () => {
  control = await controlFixture();
  machine = await control.addMachine('SN', key);
  const prepared = await control.prepare(40_000, undefined, systemRandom(4_112));
  design = await control.stored(await control.addDesign(prepared));
  licence = await control.grant(design, [machine], { objects: 1 });
});

const ask = async (who: 'holder' | 'owner' | 'other' = 'holder', at: { licence?: string; machine?: string } = {}) =>
  (await control.submit(who, { type: 'rehearsal.request', licence, machine: machine.machine, ...at })).rehearsal ?? '';
const recordOf = (rehearsal: string) => control.context.records.rehearsals.require(rehearsal);
const next = () => control.context.printQueue.next(control.context, machine.machine, 0, new AbortController().signal);
const events = async (rehearsal: string) =>
  (await control.context.ledger.account(`rehearsal:${rehearsal}`)).map(({ event }) => event.body.fact ?? event.type);

async function answer(rehearsal: string, changes: Partial<RehearsalResult> = {}, by: P256Key = key, caller = machine) {
  const now = Date.now();
  const { transaction } = await recordOf(rehearsal);
  const document = {
    type: 'rehearsal.result',
    ...{ id: systemRandom(16), issued: now, expires: now + 600_000 },
    ...{ rehearsal, request: sha256(transaction), licence, design, machine: machine.machine },
    ...{ outcome: 'does-not-fit', rules: ['volume'], policy: true },
    ...changes,
  } as MachineDocument;
  const signed = await signMachineDocument(by, control.context.directory.installation, document);
  return takeReport(control.context, caller.machine, signed);
}

describe('a rehearsal', () => {
  it('comes before prints, counts no object, and its answer is in the ledger for both sides', async () => {
    const print = await control.print(licence, machine);
    const rehearsal = await ask();
    expect(await next()).toMatchObject({ rehearsal });
    const given = await rehearsalFor(control.context, await recordOf(rehearsal));
    expect(given).toMatchObject({ rehearsal, machine: { machine: machine.machine } });
    expect(readTransaction(given?.request.transaction ?? new Uint8Array())).toMatchObject({ licence });
    await answer(rehearsal);
    expect(await recordOf(rehearsal)).toMatchObject({ state: 'answered', outcome: 'does-not-fit', rules: ['volume'] });
    expect(await events(rehearsal)).toEqual(['ordered', 'rehearsed']);
    // The only object of the licence is still there for the print.
    expect(await next()).toMatchObject({ print });
    expect((await control.context.records.licences.require(licence)).objects).toBe(1);
    let claims = 0;
    for await (const _ of control.context.records.claims.list()) claims++;
    expect(claims).toBe(0);
  });

  it('is asked for by the holder only, of a machine of the licence, while the licence is in force', async () => {
    for (const who of ['owner', 'other'] as const) expect(await codeOf(() => ask(who))).toBe('E_FORBIDDEN');
    const stranger = await control.addMachine();
    expect(await codeOf(() => ask('holder', { machine: stranger.machine }))).toBe('E_LICENCE_INVALID');
    const waiting = await ask();
    await control.submit('owner', { type: 'licence.suspend', licence, number: Date.now() });
    expect(await codeOf(() => ask())).toBe('E_LICENCE_SUSPENDED');
    expect(await rehearsalFor(control.context, await recordOf(waiting))).toBeUndefined();
    expect(await recordOf(waiting)).toMatchObject({ state: 'refused', code: 'E_LICENCE_SUSPENDED' });
  });

  it('needs a design with an envelope', async () => {
    const plain = await control.stored(await control.addDesign(await control.prepare()));
    const other = await control.grant(plain, [machine]);
    expect(await codeOf(() => ask('holder', { licence: other }))).toBe('E_STATE');
  });

  it('of a package needs the key of the envelope, for this machine', async () => {
    const share = () => systemRandom(SEALED_SECRET_BYTES);
    const named = {
      ...{ driver: systemRandom(65), commitment: systemRandom(32), keysHash: systemRandom(32) },
      shares: { driver: share(), machine: share(), segments: share() },
    };
    const entry = { machine: machine.machine, registration: registrationHash(machine) };
    const packaged = (machines: object[]) =>
      control.grant(design, [machine], { terms: { package: named, machines: machines as never } });
    const without = await packaged([entry]);
    expect(await codeOf(() => ask('holder', { licence: without }))).toBe('E_STATE');
    expect(await ask('holder', { licence: await packaged([{ ...entry, envelopeKey: share() }]) })).not.toBe('');
  });

  it('is given to a driver that waits for a package and asks for nothing else', async () => {
    const print = await control.print(licence, machine);
    const { signal } = new AbortController();
    const asked = () =>
      control.context.printQueue.next(control.context, machine.machine, 0, signal, { rehearsals: true });
    expect(await asked()).toBeUndefined();
    const rehearsal = await ask();
    expect(await asked()).toMatchObject({ rehearsal });
    await answer(rehearsal);
    expect(await asked()).toBeUndefined();
    expect(await next()).toMatchObject({ print });
  });

  it('is limited for each licence and machine', async () => {
    for (let i = 0; i < MAX_REHEARSALS; i++) await ask();
    expect(await codeOf(() => ask())).toBe('E_QUOTA');
    const other = await control.grant(design, [machine]);
    expect(await ask('holder', { licence: other })).not.toBe('');
  });
});

describe('an answer', () => {
  it('counts once, and the first counts', async () => {
    const rehearsal = await ask();
    await answer(rehearsal);
    await answer(rehearsal, { outcome: 'fits', rules: [] });
    expect(await recordOf(rehearsal)).toMatchObject({ outcome: 'does-not-fit' });
    expect(await events(rehearsal)).toEqual(['ordered', 'rehearsed']);
  });

  it('is refused for another request, licence, design or machine, or from another machine', async () => {
    const [rehearsal, later] = [await ask(), await ask()];
    const { transaction } = await recordOf(later);
    const id = toHex(systemRandom(16));
    for (const changes of [{ request: sha256(transaction) }, { licence: id }, { design: id }, { machine: id }])
      expect(await codeOf(() => answer(rehearsal, changes))).toBe('E_FORBIDDEN');
    const other = generateP256Key();
    const stranger = await control.addMachine('SN-2', other);
    expect(await codeOf(() => answer(rehearsal, {}, other, stranger))).toBe('E_FORBIDDEN');
    expect(await codeOf(() => answer(rehearsal, {}, other))).toBe('E_AUTH');
    expect((await recordOf(rehearsal)).state).toBe('queued');
  });

  it('is recorded once if control is killed between the ledger and its record', async () => {
    const rehearsal = await ask();
    const { rehearsals } = control.context.records;
    const { update } = rehearsals;
    Object.assign(rehearsals, { update: () => Promise.reject(new Error('killed')) });
    await expect(answer(rehearsal)).rejects.toThrow('killed');
    Object.assign(rehearsals, { update });
    expect((await recordOf(rehearsal)).state).toBe('queued');
    await answer(rehearsal);
    expect((await recordOf(rehearsal)).state).toBe('answered');
    expect(await events(rehearsal)).toEqual(['ordered', 'rehearsed']);
  });
});
