import { fromBase64, MillraceError, systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import { generateP256Key, keyName, type MemorySigner, type P256Key } from '@millrace/identity';
import {
  type LicensedMaterial,
  type Machine,
  readTransaction,
  type SpoolProof,
  signTransaction,
} from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { samplePla } from '@millrace/testkit/protocol/material';
import { codeOf } from '@millrace/testkit/protocol/support';
import { beforeEach, describe, expect, it } from 'vitest';
import { spoolStatementsPage, spoolsPage } from '../src/control/materials.ts';
import { signingActor } from '../src/control/people.ts';
import { callHome } from '../src/control/permits.ts';
import { loadedOn } from '../src/control/spools.ts';
import { SpoolGuard } from '../src/streaming/spools.ts';
import { controlFixture } from './control-fixture.ts';
import { peopleFixture } from './people-fixture.ts';
import { signPermitRequest } from './permit-request.ts';

let system: Awaited<ReturnType<typeof controlFixture>>;
let people: ReturnType<typeof peopleFixture>;
let acme: string;
let carla: MemorySigner;
let otto: MemorySigner;
let machines: (Machine & { readonly key: P256Key })[];
let number = systemClock.now();
beforeEach(async () => {
  system = await controlFixture();
  people = peopleFixture(system);
  acme = await people.organisation('ACME', 'supplier');
  carla = await people.enrol(acme, 'certifier');
  otto = await people.enrol(await people.organisation('Bureau', 'bureau'), 'operator');
  machines = await Promise.all(['SN-1', 'SN-2'].map(addMachine));
});

async function addMachine(serial: string) {
  const key = generateP256Key();
  return { ...(await system.addMachine(serial, key)), key };
}

const certify = (changes: Parameters<typeof samplePla>[1] = {}, by = carla) =>
  people.sign(by, { type: 'material.certify', ...samplePla(systemClock.now(), changes) });

const at = (index: number) => machines[index] as Machine & { key: P256Key };

async function load(certificate: Uint8Array<ArrayBuffer>, index = 0, by = otto): Promise<string> {
  number += 1;
  const body = { type: 'spool.load', machine: at(index).machine, number, certificate } as const;
  return (await people.take(await people.sign(by, body))).spool ?? '';
}

async function unload(spool: string, index = 0, by = otto): Promise<void> {
  number += 1;
  const body = { type: 'spool.unload', machine: at(index).machine, number, spool } as const;
  await people.take(await people.sign(by, body));
}

describe('the record of spools', () => {
  it('has a spool on one machine at a time, and one spool on a machine', async () => {
    const [first, second] = [await certify(), await certify({ spool: 'AC-000018' })];
    const spool = await load(first);
    expect(await load(first)).toBe(spool);
    expect(await codeOf(() => load(first, 1))).toBe('E_CONFLICT');
    expect(await codeOf(() => load(second))).toBe('E_STATE');
    await unload(spool);
    expect(await codeOf(() => unload(spool))).toBe('E_STATE');
    expect(await load(first, 1)).toBe(spool);
    await load(second);
    const { items } = await spoolsPage(system.context, await signingActor(system.context, keyName(otto.publicKey)), {
      limit: 10,
    });
    expect(items.map(({ serial, machine }) => [serial, machine]).sort()).toEqual([
      ['AC-000017', at(1).machine],
      ['AC-000018', at(0).machine],
    ]);
  });

  it('keeps each statement as it was signed, with what was used before, for the party and the administrator', async () => {
    const spool = await load(await certify());
    await system.context.records.spools.update(spool, (record) => ({ ...record, used: 12 }));
    await unload(spool, 0, system.keys.admin);
    await load(await certify({ spool: 'AC-000018' }), 1);
    const foreign = await people.enrol(await people.organisation('Other bureau', 'bureau'), 'operator');
    const shown = async (key: MemorySigner, machine: string) => {
      const actor = await signingActor(system.context, keyName(key.publicKey));
      return (await spoolStatementsPage(system.context, actor, machine, { limit: 10 })).items;
    };
    for (const key of [otto, system.keys.admin]) {
      const statements = await shown(key, at(0).machine);
      expect(statements.map((each) => [each.spool, each.used, each.credential.length > 0])).toEqual([
        [spool, 0, true],
        [spool, 12, false],
      ]);
      const types = statements.map(({ transaction }) => readTransaction(fromBase64(transaction)).type);
      expect(types).toEqual(['spool.load', 'spool.unload']);
    }
    expect(await shown(foreign, at(0).machine)).toEqual([]);
  });

  it('is not replaced by a later statement of somebody else with the same id', async () => {
    const certificate = await certify();
    number += 1;
    const body = { type: 'spool.load', machine: at(0).machine, number, certificate } as const;
    const first = await people.sign(otto, body);
    await people.take(first);
    const { id } = readTransaction(first);
    // Control forgets which ids were used when the transactions have expired.
    await system.context.records.seen.remove(toHex(id));
    const foreign = await people.enrol(await people.organisation('Other bureau', 'bureau'), 'operator');
    const now = systemClock.now();
    const times = { issued: now, expires: now + 600_000 };
    const own = { ...body, machine: at(1).machine, certificate: await certify({ spool: 'AC-000018' }) };
    const second = await signTransaction(foreign, system.context.directory.installation, { id, ...times, ...own });
    expect(await codeOf(() => people.take(second))).toBe('E_REPLAY');
    const actor = await signingActor(system.context, keyName(otto.publicKey));
    const { items } = await spoolStatementsPage(system.context, actor, at(0).machine, { limit: 10 });
    expect(items.map(({ transaction }) => transaction)).toEqual([toBase64(first)]);
  });

  it('takes statements of operators only, and of no foreign one for a loaded spool', async () => {
    const certificate = await certify();
    const auditor = await people.enrol(await people.organisation('Auditors', 'auditor'), 'auditor');
    for (const by of [auditor, carla]) expect(await codeOf(() => load(certificate, 0, by))).toBe('E_FORBIDDEN');
    const spool = await load(certificate);
    const foreign = await people.enrol(await people.organisation('Other bureau', 'bureau'), 'operator');
    expect(await codeOf(() => unload(spool, 0, foreign))).toBe('E_FORBIDDEN');
    const listed = async (key: MemorySigner) =>
      (await spoolsPage(system.context, await signingActor(system.context, keyName(key.publicKey)), { limit: 10 }))
        .items;
    expect(await listed(foreign)).toEqual([]);
    expect(await listed(system.keys.admin)).toHaveLength(1);
    await unload(spool, 0, system.keys.admin);
    expect(await loadedOn(system.context, at(0).machine)).toEqual({});
  });

  it('refuses old statements, unknown machines and suppliers, expired and used spools', async () => {
    const certificate = await certify();
    const spool = await load(certificate);
    number -= 2;
    expect(await codeOf(() => load(certificate))).toBe('E_STATE');
    number += 2;
    const nowhere = { type: 'spool.load', machine: 'ab'.repeat(16), number, certificate } as const;
    expect(await codeOf(async () => people.take(await people.sign(otto, nowhere)))).toBe('E_MACHINE_UNKNOWN');
    await unload(spool);
    expect(await codeOf(async () => load(await certify({ until: 1_000, made: 0 })))).toBe('E_MATERIAL');
    const rival = await people.enrol(await people.organisation('Brand', 'brand'), 'certifier');
    expect(await codeOf(async () => load(await certify({}, rival)))).toBe('E_FORBIDDEN');
    await system.context.records.spools.update(spool, (record) => ({ ...record, used: 1_000 }));
    expect(await codeOf(() => load(certificate))).toBe('E_MATERIAL');
    // A machine of another cloud has its spools there.
    const { machine } = at(1);
    await system.context.records.machines.update(machine, (record) => ({ ...record, cloud: 'cd'.repeat(16) }));
    expect(await codeOf(async () => load(await certify(), 1))).toBe('E_CONFLICT');
  });
});

describe('a machine that calls home', () => {
  let print: string;
  /** The licence's holder answers for what is loaded. */
  const loadHere = (certificate: Uint8Array<ArrayBuffer>, index = 0) => load(certificate, index, system.keys.holder);
  const unloadHere = (spool: string) => unload(spool, 0, system.keys.holder);
  beforeEach(async () => {
    const design = await system.stored(await system.addDesign(await system.prepare()));
    const materials: LicensedMaterial[] = [{ name: 'PLA', suppliers: [acme] }];
    const registrations = machines.map(({ key: _, ...machine }) => machine);
    const licence = await system.grant(design, registrations, { materials });
    print = await system.print(licence, at(0));
  });

  const call = async (spool: SpoolProof | undefined) => {
    const issued = systemClock.now();
    const request = await signPermitRequest(at(0).key, system.context.directory.installation, {
      ...{ print, issued, run: systemRandom(16), ...(spool && { spool }) },
    });
    return callHome(system.context, at(0).machine, request);
  };
  const refused = async (spool: SpoolProof | undefined) => {
    const error = await call(spool).catch((caught: unknown) => caught as MillraceError);
    if (!(error instanceof MillraceError)) throw new Error('permitted');
    const { state } = await system.context.records.prints.require(print);
    return [error.code, state, error.message.includes('millrace spool load')];
  };
  const proofOf = async () => (await loadedOn(system.context, at(0).machine)).spool;

  it('gets a permit with the spool that is loaded on it', async () => {
    await loadHere(await certify());
    expect((await call(await proofOf())).machine.serial).toBe('SN-1');
  });

  it('gets none with a spool that somebody else loaded than the holder', async () => {
    await load(await certify());
    expect(await refused(await proofOf())).toEqual(['E_MATERIAL', 'refused', true]);
  });

  it('gets none without a spool; the refusal says who loads one', async () => {
    expect(await refused(undefined)).toEqual(['E_MATERIAL', 'refused', true]);
  });

  it('gets none with a spool that has moved to another machine', async () => {
    const certificate = await certify();
    const spool = await loadHere(certificate);
    const proof = await proofOf();
    await unloadHere(spool);
    await loadHere(certificate, 1);
    expect(await refused(proof)).toEqual(['E_MATERIAL', 'refused', true]);
  });

  it('gets none with a spool that was unloaded', async () => {
    const spool = await loadHere(await certify());
    const proof = await proofOf();
    await unloadHere(spool);
    expect(await refused(proof)).toEqual(['E_MATERIAL', 'refused', true]);
  });

  it('gets none with a spool that is used up', async () => {
    const spool = await loadHere(await certify());
    await system.context.records.spools.update(spool, (record) => ({ ...record, used: 1_000 }));
    expect(await refused(await proofOf())).toEqual(['E_MATERIAL', 'refused', true]);
  });
});

it('a proactive node remembers the newest statement on a spool, whatever control says', async () => {
  const guard = new SpoolGuard(new MemoryRecords());
  const [spool, here, there] = ['aa', 'bb', 'cc'].map((text) => text.repeat(16)) as [string, string, string];
  const use = (machine: string, stated: number) =>
    guard.use({ spool, load: { machine, number: stated } as Parameters<SpoolGuard['use']>[0]['load'] });
  await use(here, 5);
  await use(here, 5);
  await use(there, 7);
  expect(await codeOf(() => use(here, 5))).toBe('E_MATERIAL');
  expect(await codeOf(() => use(here, 7))).toBe('E_MATERIAL');
  await use(here, 8);
});

it('a proactive node keeps spools of other clouds apart, and remembers the newest statement on each', async () => {
  const guard = new SpoolGuard(new MemoryRecords());
  const [spool, here, there] = ['aa', 'bb', 'cc'].map((text) => text.repeat(16)) as [string, string, string];
  const use = (cloud: string | undefined, machine: string, stated: number) =>
    guard.use({ spool, cloud, load: { machine, number: stated } as Parameters<SpoolGuard['use']>[0]['load'] });
  await use(undefined, here, 5);
  // The same name at another cloud, on two machines: the newer statement counts, here nothing changes.
  await use('dd'.repeat(16), here, 9);
  await use('dd'.repeat(16), there, 10);
  expect(await codeOf(() => use('dd'.repeat(16), here, 9))).toBe('E_MATERIAL');
  await use('ee'.repeat(16), here, 1);
  await use(undefined, here, 6);
});
