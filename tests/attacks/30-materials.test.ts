import { type Bytes, systemClock } from '@millrace/base';
import {
  certifyMaterial,
  checkMaterial,
  grantLicence,
  loadSpool,
  type Session,
  signNew,
  unloadSpool,
} from '@millrace/client';
import { machineAccount, type Odometer, readSpoolLoad, type SpoolProof } from '@millrace/protocol';
import { type Licensed, outcomeOf, SEGMENT } from '@millrace/testkit/adversary/honest';
import {
  ELSEWHERE,
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { callAsMachine } from '@millrace/testkit/adversary/machine-calls';
import {
  addOrganisation,
  enrolledOffline,
  joined,
  type Member,
  type TestOrganisation,
} from '@millrace/testkit/adversary/members';
import { asMachine, forgeOpening } from '@millrace/testkit/adversary/opening';
import { randomDesign } from '@millrace/testkit/designs';
import { store } from '@millrace/testkit/job';
import { samplePla } from '@millrace/testkit/protocol/material';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 30: the material. Operators with certificates that are forged, altered, foreign, expired or used elsewhere; an
// agent that lies about spool and odometer; a control node that swaps certificates. All with their real keys.

let system: HostileInstallation;
let acme: TestOrganisation;
let namesake: TestOrganisation;
let bureau: TestOrganisation;
let carla: Session;
let otto: Session;
let dora: Session;
let job: Licensed;
const sessions: Session[] = [];

beforeAll(async () => {
  system = await openHostileInstallation();
  acme = await addOrganisation(system, 'ACME', 'supplier');
  namesake = await addOrganisation(system, 'ACME', 'supplier');
  bureau = await addOrganisation(system, 'Bureau', 'bureau');
  const brand = await addOrganisation(system, 'Brand', 'brand');
  carla = await joined(system, acme, 'Carla', 'certifier');
  otto = await joined(system, bureau, 'Otto', 'operator');
  dora = await joined(system, brand, 'Dora', 'designer');
  sessions.push(carla, otto, dora);
  const content = randomDesign(3 * SEGMENT - 100);
  const { design } = await store(system, dora, content, { name: 'part.bin', kind: 'binary', bytesPerSecond: 1e9 });
  const machines = system.installation.description.machines
    .filter(({ name }) => name === SITE || name === ELSEWHERE)
    .map(({ registration }) => registration.serial);
  const terms = { machines, materials: ['PLA'], suppliers: [acme.organisation], days: 1, holder: 'Bureau' };
  job = { content, design, licence: await grantLicence(dora, { design, objects: 50, ...terms }), objects: 50 };
}, 60_000);
afterAll(async () => {
  for (const session of sessions) session.close();
  await system?.close();
});

const machineId = (name: string) =>
  system.installation.description.machines.find((machine) => machine.name === name)?.registration.machine ?? '';

type Material = Parameters<typeof samplePla>[1];

/** A proof that parties with real keys make without control. */
async function proof({
  supplier,
  operator,
  material,
  on = SITE,
  alter,
}: {
  supplier: Member;
  operator: Member;
  material?: Material;
  on?: string;
  alter?: boolean;
}): Promise<SpoolProof> {
  const body = { type: 'material.certify', ...samplePla(systemClock.now(), material) } as const;
  const { bytes: certificate } = await signNew({ ...carla, signer: supplier.signer }, body);
  if (alter) certificate[certificate.length - 90] = (certificate[certificate.length - 90] as number) ^ 1;
  const load = { type: 'spool.load', machine: machineId(on), number: systemClock.now(), certificate } as const;
  const signed = await signNew({ ...otto, signer: operator.signer }, load);
  return { load: signed.bytes, operator: operator.credential, supplier: supplier.credential };
}

let number = 0;
/** What machine, keys node and segments node say when control gives them a permit for this spool. */
async function verdicts(spool: SpoolProof | undefined): Promise<Record<string, string>> {
  number += 1;
  const permit = { number, object: `${job.licence}-${number}` };
  const forged = await forgeOpening(system, job, { permit, holder: otto, request: { ...(spool && { spool }) } });
  const says: Record<string, string> = { machine: await outcomeOf(asMachine(forged)) };
  for (const role of ['keys', 'segments'] as const)
    says[role] = await outcomeOf(system.nodes[role].parts.streams.open(forged.opening));
  return says;
}
const all = (code: string) => ({ machine: code, keys: code, segments: code });

describe('a hostile control node and a machine whose operator helps it', () => {
  let supplier: Member;
  let operator: Member;
  beforeAll(async () => {
    supplier = await enrolledOffline(system, acme, ['certifier']);
    operator = await enrolledOffline(system, bureau, ['operator']);
  });

  it('baseline: with a genuine spool all accept', async () => {
    expect(await verdicts(await proof({ supplier, operator }))).toEqual(all('accepted'));
  });

  it('get no object past the nodes without the certificate of the licensed supplier', async () => {
    const forger = await enrolledOffline(system, namesake, ['certifier']);
    const packer = await enrolledOffline(system, acme, ['operator']);
    const late = await enrolledOffline(system, acme, ['certifier'], { daysLeft: -1 });
    const genuine = await proof({ supplier, operator });
    const wrong: [string, SpoolProof | undefined][] = [
      ['no spool', undefined],
      ['altered', await proof({ supplier, operator, alter: true })],
      ['of another organisation that is also called ACME', await proof({ supplier: forger, operator })],
      [
        'its certificate under the credential of ACME',
        {
          ...(await proof({ supplier: forger, operator })),
          supplier: supplier.credential,
        },
      ],
      ['signed by ACME’s operator', await proof({ supplier: packer, operator })],
      ['signed with an expired key', await proof({ supplier: late, operator })],
      ['another material', await proof({ supplier, operator, material: { name: 'ABS' } })],
      ['expired', await proof({ supplier, operator, material: { until: systemClock.now() - 2 * 3_600_000 } })],
      ['loaded on another machine', await proof({ supplier, operator, on: ELSEWHERE })],
      ['loaded by the supplier', await proof({ supplier, operator: supplier })],
      ['loaded by somebody else’s operator', await proof({ supplier, operator: packer })],
      ['with the genuine statement under another credential', { ...genuine, operator: packer.credential }],
    ];
    for (const [what, spool] of wrong) expect([what, await verdicts(spool)]).toEqual([what, all('E_MATERIAL')]);
  });

  it('cannot use an old statement once the nodes have seen a newer one on that spool', async () => {
    const first = await proof({ supplier, operator });
    expect(await verdicts(first)).toEqual(all('accepted'));
    const { certificate } = readSpoolLoad(first.load);
    const moved = { type: 'spool.load', machine: machineId(ELSEWHERE), number: systemClock.now() + 1 } as const;
    const signed = await signNew({ ...otto, signer: operator.signer }, { ...moved, certificate });
    number += 1;
    const forged = await forgeOpening(system, job, {
      ...{ machine: ELSEWHERE, holder: otto, permit: { number, object: `${job.licence}-${number}` } },
      request: { spool: { ...first, load: signed.bytes } },
    });
    for (const role of ['keys', 'segments'] as const)
      expect(await outcomeOf(system.nodes[role].parts.streams.open(forged.opening))).toBe('accepted');
    // The agent of the first machine has not heard of it.
    expect(await verdicts(first)).toEqual({ machine: 'accepted', keys: 'E_MATERIAL', segments: 'E_MATERIAL' });
  });
});

describe('an operator with a running cloud', () => {
  it('cannot use one spool on two machines, nor load what is not certified as certified', async () => {
    const { certificate } = await certifyMaterial(carla, samplePla(systemClock.now()));
    expect((await checkMaterial(otto, certificate)).supplier.organisation).toBe(acme.organisation);
    const spool = await loadSpool(otto, machineId(SITE), { certificate });
    expect(await outcomeOf(loadSpool(otto, machineId(ELSEWHERE), { certificate }))).toBe('E_CONFLICT');
    const altered = new Uint8Array(certificate);
    altered[altered.length - 1] = (altered[altered.length - 1] as number) ^ 1;
    expect(await outcomeOf(loadSpool(otto, machineId(ELSEWHERE), { certificate: altered }))).toBe('E_SIGNATURE');
    const view = (await otto.api.spools()).find((each) => each.spool === spool);
    if (view === undefined) throw new Error('not listed');
    // Another bureau's operator takes nothing off this machine.
    const foreign = await joined(system, await addOrganisation(system, 'Other', 'bureau'), 'Fred', 'operator');
    sessions.push(foreign);
    expect(await outcomeOf(unloadSpool(foreign, view))).toBe('E_FORBIDDEN');
    await unloadSpool(otto, view);
    // Nor does it sign a number that no later statement exceeds.
    const description = { name: 'ABS' };
    for (const ahead of [Number.MAX_SAFE_INTEGER, systemClock.now() + 24 * 3_600_000]) {
      const last = { type: 'spool.load', machine: machineId(SITE), number: ahead, description } as const;
      expect(await outcomeOf(foreign.api.submit((await signNew(foreign, last)).bytes))).toBe('E_INPUT');
    }
    await unloadSpool(otto, await reloaded(certificate));
  });

  async function reloaded(certificate: Bytes) {
    const spool = await loadSpool(otto, machineId(SITE), { certificate });
    const view = (await otto.api.spools()).find((each) => each.spool === spool);
    if (view === undefined) throw new Error('not listed');
    return view;
  }
});

describe('an agent that lies about its odometer, with the machine’s key', () => {
  const told = (started: number, metres: number): Odometer => ({
    ...{ started, ended: started, metres, minutes: metres, grams: 3 * metres },
  });
  /** Asks control for an object as the machine elsewhere. */
  async function asks(odometer: Odometer | undefined, spool: SpoolProof): Promise<string> {
    const caller = await callAsMachine(system, ELSEWHERE);
    try {
      const machine = machineId(ELSEWHERE);
      const { id, bytes } = await signNew(otto, { type: 'print.request', licence: job.licence, machine });
      await otto.api.submit(bytes);
      const request = await caller.request(id, { spool, ...(odometer && { odometer }) });
      return await outcomeOf(caller.calls.callHome(request.bytes, caller.signal));
    } catch (error) {
      return await outcomeOf(Promise.reject(error));
    } finally {
      caller.close();
    }
  }

  it('raises an alarm when a disk is restored, and prints nothing until the owner clears it', async () => {
    const { certificate } = await certifyMaterial(carla, samplePla(systemClock.now(), { spool: 'AC-000030' }));
    const spool = await loadSpool(otto, machineId(ELSEWHERE), { certificate });
    const { load, operator, supplier } = await system.nodes.control.context.records.spools.require(spool);
    const proven = { load, operator, ...(supplier && { supplier }) };
    expect(await asks(told(7, 70), proven)).toBe('accepted');
    expect(await asks(told(6, 60), proven)).toBe('E_ALARM');
    // Neither the old nor another value, nor silence, helps.
    for (const odometer of [told(7, 70), told(900, 9_000), undefined])
      expect(await asks(odometer, proven)).toBe('E_ALARM');
    const { ledger } = system.nodes.control.context;
    const events = await ledger.account(machineAccount(machineId(ELSEWHERE)));
    expect(events.some(({ event }) => event.type === 'alarmed' && event.evidence?.length === 1)).toBe(true);
    const { alarm } = await dora.api.odometer(machineId(ELSEWHERE));
    const clear = { type: 'odometer.clear', machine: machineId(ELSEWHERE), licence: job.licence } as const;
    const signed = async (session: Session) =>
      session.api.submit((await signNew(session, { ...clear, alarm: alarm?.alarm ?? '' })).bytes);
    expect(await outcomeOf(signed(otto))).toBe('E_FORBIDDEN');
    await signed(dora);
    expect(await asks(told(900, 9_000), proven)).toBe('accepted');
  });
});
