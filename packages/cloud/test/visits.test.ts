import { systemRandom, toHex } from '@millrace/base';
import { generateP256Key, keyName } from '@millrace/identity';
import {
  type Directory,
  type Machine,
  type MachineDocument,
  readTransaction,
  sha256,
  signMachineDocument,
  verifyVisa,
} from '@millrace/protocol';
import { samplePla } from '@millrace/testkit/protocol/material';
import { codeOf } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it } from 'vitest';
import { takeReport } from '../src/control/reports.ts';
import { loadedOn } from '../src/control/spools.ts';
import { giveVisa, refuseExpiredVisits } from '../src/control/visits.ts';
import { controlFixture } from './control-fixture.ts';
import { peopleFixture } from './people-fixture.ts';

// Control of the cloud whose machine makes objects of another cloud.

let control: Awaited<ReturnType<typeof controlFixture>>;
let now: number;
const key = generateP256Key();
let machine: Machine;
const cloud = toHex(systemRandom(16));
const id = () => toHex(systemRandom(16));

beforeEach(async () => {
  control = await controlFixture();
  now = Date.now();
  Object.assign(control.context, { clock: { now: () => now, monotonic: () => now } });
  const recognised = [{ installation: cloud, adminKey: 'ab', recognition: 'ab', directory: {} as Directory }];
  Object.assign(control.context.directory, { recognised });
  machine = await control.addMachine('SN', key);
});

const order = async (who: 'holder' | 'owner' = 'holder', changes: { cloud?: string; machine?: string } = {}) => {
  const body = { type: 'visit.request', cloud, print: id(), licence: id(), machine: machine.machine } as const;
  return (await control.submit(who, { ...body, ...changes })).visit ?? '';
};

type Body<T> = T extends MachineDocument ? Omit<T, 'id' | 'issued' | 'expires'> : never;
const sign = (body: Body<MachineDocument>, by = key) => {
  const document = { ...body, id: systemRandom(16), issued: now, expires: now + 600_000 } as MachineDocument;
  return signMachineDocument(by, control.context.directory.installation, document);
};
const ask = async (visit: string, run = systemRandom(16)) =>
  giveVisa(control.context, machine.machine, await sign({ type: 'visa.request', visit, run }));
const report = async (visit: string, run: Uint8Array<ArrayBuffer>, event: 'started' | 'completed' | 'failed') =>
  takeReport(control.context, machine.machine, await sign({ type: 'visit.report', visit, run, event }));
const stateOf = async (visit: string) => (await control.context.records.visits.require(visit)).state;
const events = async (visit: string) =>
  (await control.context.ledger.account(`visit:${visit}`)).map(({ event }) => event.type);
const next = () => control.context.printQueue.next(control.context, machine.machine, 0, new AbortController().signal);

describe('a visit', () => {
  it('waits for its machine among the prints of this cloud, in the order of time', async () => {
    const first = await order();
    now += 10;
    const design = await control.stored(await control.addDesign(await control.prepare()));
    const print = await control.print(await control.grant(design, [machine]), machine);
    now += 10;
    await order();
    expect(await next()).toMatchObject({ visit: first });
    await control.submit('holder', { type: 'visit.cancel', visit: first });
    expect(await next()).toMatchObject({ print });
  });

  it('is refused to an unknown cloud, and for a machine that does not belong to this one', async () => {
    await expect(order('holder', { cloud: id() })).rejects.toMatchObject({ code: 'E_CLOUD_UNKNOWN' });
    await expect(order('holder', { machine: id() })).rejects.toMatchObject({ code: 'E_MACHINE_UNKNOWN' });
    const { records } = control.context;
    await records.machines.update(machine.machine, (record) => ({ ...record, cloud }));
    await expect(order()).rejects.toMatchObject({ code: 'E_MACHINE_UNKNOWN' });
  });

  it('is cancelled by its signer only, and only while it waits', async () => {
    const visit = await order();
    const cancel = (who: 'holder' | 'owner') => control.submit(who, { type: 'visit.cancel', visit });
    await expect(cancel('owner')).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
    await ask(visit);
    await expect(cancel('holder')).rejects.toMatchObject({ code: 'E_STATE' });
    expect(await stateOf(visit)).toBe('admitted');
  });

  it('gets no visa once it is cancelled', async () => {
    const visit = await order();
    await control.submit('holder', { type: 'visit.cancel', visit });
    expect(await codeOf(() => ask(visit))).toBe('E_STATE');
    expect(await events(visit)).toEqual([]);
    expect(await stateOf(visit)).toBe('cancelled');
  });

  it('expires, whether or not its machine has got the visa', async () => {
    const [waiting, admitted] = [await order(), await order()];
    await ask(admitted);
    now += 3_600_000;
    await refuseExpiredVisits(control.context);
    expect([await stateOf(waiting), await stateOf(admitted)]).toEqual(['refused', 'failed']);
    expect(await codeOf(() => ask(waiting))).toBe('E_STATE');
  });
});

describe('a visa', () => {
  /** The refused visit does not come back to its machine. */
  const isFinal = async (visit: string, code: string) => {
    expect(await control.context.records.visits.require(visit)).toMatchObject({ state: 'refused', code });
    expect(await next()).toBeUndefined();
  };

  it('is for one run of the machine, and is in the ledger before it is given', async () => {
    const visit = await order();
    const run = systemRandom(16);
    const { visa, request, credential, key: permitKey } = await ask(visit, run);
    expect(await events(visit)).toEqual(['ordered', 'permitted']);
    const { directory, permitKey: signer, permitKeyDocument } = control.context;
    const { body } = await verifyVisa(visa, directory.installation, () => signer.publicKey, now);
    expect(body).toMatchObject({ visit, cloud, machine: machine.machine, run, request: sha256(request) });
    expect(readTransaction(request)).toMatchObject({ print: body.print, licence: body.licence });
    expect(readTransaction(credential)).toMatchObject({ type: 'user.register', name: 'holder' });
    expect(permitKey).toEqual(permitKeyDocument);
    // The answer may be lost. Another run gets none.
    await ask(visit, run);
    expect(await events(visit)).toEqual(['ordered', 'permitted']);
    expect(await codeOf(() => ask(visit))).toBe('E_STATE');
  });

  it('is given to the machine of the visit only', async () => {
    const visit = await order();
    const other = generateP256Key();
    const stranger: Machine = { ...machine, machine: keyName(other.publicKey), publicKey: other.publicKey };
    await control.submit('admin', { type: 'machine.register', machine: stranger });
    const request = await sign({ type: 'visa.request', visit, run: systemRandom(16) }, other);
    expect(await codeOf(() => giveVisa(control.context, stranger.machine, request))).toBe('E_FORBIDDEN');
    expect(await codeOf(() => giveVisa(control.context, machine.machine, request))).toBe('E_AUTH');
  });

  it('is not given after the recognition was withdrawn, or the visit has expired', async () => {
    const [withdrawn, expired] = [await order(), await order()];
    const { directory } = control.context;
    const { recognised } = directory;
    Object.assign(directory, { recognised: [] });
    expect(await codeOf(() => ask(withdrawn))).toBe('E_CLOUD_UNKNOWN');
    Object.assign(directory, { recognised });
    now += 3_600_000;
    expect(await codeOf(() => ask(expired))).toBe('E_EXPIRED');
    await isFinal(withdrawn, 'E_CLOUD_UNKNOWN');
    await isFinal(expired, 'E_EXPIRED');
  });

  it('is not given after the key of the visit’s signer was revoked', async () => {
    const visit = await order();
    const revoked = { name: 'holder', at: now, kept: new Set() };
    Object.assign(control.context.directory, { revocations: { of: () => [revoked] } });
    expect(await codeOf(() => ask(visit))).toBe('E_REVOKED');
    await isFinal(visit, 'E_REVOKED');
  });
});

describe('a report on a visit', () => {
  it('is in the ledger once, and says how the visit ended', async () => {
    const visit = await order();
    const run = systemRandom(16);
    await ask(visit, run);
    await report(visit, run, 'started');
    expect(await stateOf(visit)).toBe('running');
    expect(await codeOf(() => ask(visit, run))).toBe('E_STATE');
    const signed = await sign({ type: 'visit.report', visit, run, event: 'completed' });
    await takeReport(control.context, machine.machine, signed);
    await takeReport(control.context, machine.machine, signed);
    expect(await events(visit)).toEqual(['ordered', 'permitted', 'started', 'completed']);
    expect(await stateOf(visit)).toBe('completed');
  });

  it('is refused for another run, or another machine’s visit', async () => {
    const visit = await order();
    expect(await codeOf(() => report(visit, systemRandom(16), 'completed'))).toBe('E_FORBIDDEN');
    await ask(visit);
    expect(await codeOf(() => report(visit, systemRandom(16), 'completed'))).toBe('E_FORBIDDEN');
    expect(await stateOf(visit)).toBe('admitted');
  });
});

describe('the spool of a machine that visits another cloud', () => {
  let spool: string;
  beforeEach(async () => {
    const people = peopleFixture(control);
    const carla = await people.enrol(await people.organisation('ACME', 'supplier'), 'certifier');
    const certificate = await people.sign(carla, { type: 'material.certify', ...samplePla(now) });
    const load = { type: 'spool.load', machine: machine.machine, number: now, certificate } as const;
    spool = (await people.take(await people.sign(control.keys.holder, load))).spool ?? '';
  });

  const odometer = (grams: number, ended: number) => ({ minutes: 9, metres: 4, grams, started: ended, ended });
  const used = async () => (await control.context.records.spools.require(spool)).used;
  const end = async (visit: string, run: Uint8Array<ArrayBuffer>, of: string, grams: number, ended: number) => {
    const body = { type: 'visit.report', visit, run, event: 'completed', odometer: odometer(grams, ended) } as const;
    const report = await sign({ ...body, used: { spool: of, metres: 4, grams } });
    for (let i = 0; i < 2; i++) await takeReport(control.context, machine.machine, report);
  };
  const visaOf = async (visit: string, run: Uint8Array<ArrayBuffer>) => {
    const { directory, permitKey } = control.context;
    const { visa } = await ask(visit, run);
    return (await verifyVisa(visa, directory.installation, () => permitKey.publicKey, now)).body;
  };

  it('is named by the visa with its newest statement, and charged once with what the visit used', async () => {
    const [visit, run] = [await order(), systemRandom(16)];
    const proof = (await loadedOn(control.context, machine.machine)).spool;
    expect(await visaOf(visit, run)).toMatchObject({ load: sha256(proof?.load ?? new Uint8Array()) });
    await end(visit, run, spool, 12, 1);
    expect(await used()).toBe(12);
    expect(await control.context.records.odometers.require(machine.machine)).toMatchObject({
      running: false,
      last: odometer(12, 1),
      counted: { ended: 1, grams: 12 },
    });
  });

  it('is charged for no other spool than the one that the visa names', async () => {
    const [visit, run] = [await order(), systemRandom(16)];
    await visaOf(visit, run);
    await end(visit, run, id(), 12, 1);
    expect(await used()).toBe(0);
  });

  it('gets no visa once it is used up, and is not named if nobody certifies it', async () => {
    const { records } = control.context;
    const [visit, run] = [await order(), systemRandom(16)];
    await records.spools.update(spool, (record) => ({ ...record, used: 1_000 }));
    expect(await codeOf(() => ask(visit, run))).toBe('E_MATERIAL');
    expect(await records.visits.require(visit)).toMatchObject({ state: 'refused', code: 'E_MATERIAL' });
    await records.spools.update(spool, ({ supplier: _none, ...record }) => record);
    expect(await visaOf(await order(), run)).not.toHaveProperty('load');
  });
});
