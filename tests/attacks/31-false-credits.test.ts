import {
  type Bytes,
  copyBytes,
  equalBytes,
  fromBase64,
  systemClock,
  systemRandom,
  toBase64,
  toHex,
} from '@millrace/base';
import { decideCase, grantLicence, reportFailure, signNew } from '@millrace/client';
import { keyName } from '@millrace/identity';
import { loadMachineConfig } from '@millrace/machine/parts';
import {
  type Attested,
  objectId,
  readTransaction,
  sha256,
  signMachineDocument,
  signTransaction,
} from '@millrace/protocol';
import { type Licensed, licensed, outcomeOf, permitted, printed } from '@millrace/testkit/adversary/honest';
import {
  ELSEWHERE,
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { asMachine, credentialOf, forgeOpening } from '@millrace/testkit/adversary/opening';
import { override } from '@millrace/testkit/adversary/override';
import { license } from '@millrace/testkit/job';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Row 31: operator, machine and control, with their real keys, want more objects than the owner has licensed: they
// forge, double, replay and withhold cases and credits. Owner, proactive nodes and agent are honest.

const JOBS = 11;

let system: HostileInstallation;
let first: Licensed;
/** Each test takes its own, of the same design. */
const jobs: { job: Licensed; object: string }[] = [];
beforeAll(async () => {
  system = await openHostileInstallation();
  first = await licensed(system, 1);
  const agent = await system.agent();
  for (let i = 0; i < JOBS; i++) {
    const job = { ...first, licence: await license(system, system.owner, first.design, 1) };
    const { object = '', state } = await printed(system, job.licence);
    expect(state).toBe('completed');
    jobs.push({ job, object });
  }
  await agent.close();
});
afterAll(() => system?.close());

const nodes = ['keys', 'segments'] as const;
const credentialOfUser = async ({ signer }: HostileInstallation['owner']) =>
  copyBytes((await records().users.require(keyName(signer.publicKey))).document);
const records = () => system.nodes.control.context.records;
const grantOf = async ({ licence }: Licensed) => copyBytes((await records().licences.require(licence)).transaction);

/** What both nodes and the machine answer when control permits an object, whatever control's records say. */
async function permitAnyway(job: Licensed, number: number, shown: readonly Bytes[] = [], dates = {}) {
  const credits = await Promise.all(
    shown.map(async (transaction) => ({ transaction, credential: await credentialOf(system, transaction) })),
  );
  const forged = await forgeOpening(system, job, { permit: { number, ...dates }, credits });
  const says: Record<string, string> = { machine: await outcomeOf(asMachine(forged)) };
  for (const role of nodes) says[role] = await outcomeOf(system.nodes[role].parts.streams.open(forged.opening));
  return says;
}
const all = (code: string) => ({ machine: code, keys: code, segments: code });

async function messageOf(job: Licensed, transaction: Bytes) {
  const licence = await grantOf(job);
  const [licenceSigner, credential] = [await credentialOf(system, licence), await credentialOf(system, transaction)];
  const of = { licence, licenceSigner: copyBytes(licenceSigner) };
  return { type: 'case.credit' as const, ...of, transaction, credential: copyBytes(credential) };
}

/** Delivers a credit to both nodes as mail of control. */
async function deliver(job: Licensed, transaction: Bytes): Promise<string[]> {
  const message = await messageOf(job, transaction);
  return Promise.all(nodes.map((role) => outcomeOf(system.nodes[role].parts.streams.credit(message))));
}

/** The owner credits the object of a job, which the operator says has failed. @returns the signed decision */
async function credited(job: Licensed, object: string): Promise<Bytes> {
  const print = (await system.operator.api.prints()).find((view) => view.object === object);
  await reportFailure(system.operator, { object, licence: job.licence }, { reason: 'adhesion', text: print?.print });
  await decideCase(system.owner, await caseOf(object), { credit: true });
  const { decision } = await records().cases.require(object);
  return copyBytes(decision?.transaction ?? new Uint8Array());
}

async function caseOf(object: string) {
  const found = (await system.owner.api.cases()).find((view) => view.object === object);
  if (found === undefined) throw new Error(`no case of ${object}`);
  return found;
}

/** A job with one object, which was made. */
function oneMade(): { job: Licensed; object: string } {
  const next = jobs.pop();
  if (next === undefined) throw new Error('no job is left');
  return next;
}

const decision = (object: string, signer: HostileInstallation['owner'], credit = true) =>
  signNew(signer, { type: 'case.decide', object, report: systemRandom(32), credit });

describe('more objects than were licensed', () => {
  it('baseline: an owner who credits an object gets one more made in its place', async () => {
    const { job, object } = oneMade();
    const credit = await credited(job, object);
    expect(await permitAnyway(job, 2, [credit])).toEqual(all('accepted'));
  });

  it('with a credit signed by the operator, another tenant, or the administrator: refused everywhere', async () => {
    const { job, object } = oneMade();
    for (const signer of [system.operator, system.tenant, system.admin]) {
      const { bytes } = await decision(object, signer);
      expect(await deliver(job, bytes)).toEqual(['E_AUTH', 'E_AUTH']);
      const { machine, ...others } = await permitAnyway(job, 2, [bytes]);
      expect(machine).toBe('E_AUTH');
      expect(others).toEqual({ keys: 'E_LICENCE_EXHAUSTED', segments: 'E_LICENCE_EXHAUSTED' });
    }
  });

  it('with a denial, or with a credit of another licence: refused everywhere', async () => {
    const [{ job, object }, other] = [oneMade(), oneMade()];
    const denial = (await decision(object, system.owner, false)).bytes;
    const foreign = await credited(other.job, other.object);
    for (const document of [denial, foreign]) {
      expect(await deliver(job, document)).toEqual(['E_FORBIDDEN', 'E_FORBIDDEN']);
      const { machine, ...others } = await permitAnyway(job, 2, [document]);
      expect(machine).toBe('E_FORBIDDEN');
      expect(others).toEqual({ keys: 'E_LICENCE_EXHAUSTED', segments: 'E_LICENCE_EXHAUSTED' });
    }
  });

  it('with one credit delivered, replayed and shown many times: one object', async () => {
    const { job, object } = oneMade();
    const credit = await credited(job, object);
    for (let i = 0; i < 5; i++) expect(await deliver(job, credit)).toEqual(['accepted', 'accepted']);
    // Control's own records are forged too.
    await records().licences.update(job.licence, (now) => ({ ...now, credits: [object, object, object] }));
    expect(await permitAnyway(job, 3, [credit, credit, credit])).toEqual(all('E_LICENCE_EXHAUSTED'));
    expect(await permitAnyway(job, 2, [credit])).toEqual(all('accepted'));
  });

  it('the credited object itself is neither begun nor resumed again', async () => {
    const { job, object } = oneMade();
    await credited(job, object);
    const says = await permitAnyway(job, 1);
    expect(says).toMatchObject({ keys: 'E_CREDITED', segments: 'E_CREDITED' });
    await expect(deliver(job, (await decision(object, system.owner)).bytes)).resolves.toEqual(['accepted', 'accepted']);
    expect(await permitAnyway(job, 3)).toEqual(all('E_LICENCE_EXHAUSTED'));
  });
});

describe('a licence that credits by itself what failed before its tenth line, one object at most', () => {
  /** A report of a machine, by its real key. No node has begun the object, so every run fits. */
  async function reported(object: string, lines: number, { made, machine = SITE }: Partial<Reported> = {}) {
    const { layout, directory } = system.installation;
    const { machineKey, serial } = await loadMachineConfig(layout.machine(machine));
    const issued = systemClock.now();
    const transaction = await signMachineDocument(machineKey, directory.installation, {
      type: 'report',
      ...{ id: systemRandom(16), issued, expires: issued + 60_000, object, run: systemRandom(16), event: 'failed' },
      facts: { serial, material: 'PLA', segments: 0, lines, ...(made && { made }) },
    });
    const { document } = await records().machines.require(keyName(machineKey.publicKey));
    return { transaction, credential: copyBytes(document) };
  }
  interface Reported {
    readonly made: true;
    readonly machine: string;
  }
  const objects = (licence: string) => [1, 2, 4].map((number) => objectId(licence, number)) as [string, string, string];

  const policy = { below: 10, most: 1 };
  let sample: Licensed;
  beforeAll(() => {
    sample = oneMade().job;
  });
  const licence = async (credits: { creditPolicy?: typeof policy } = { creditPolicy: policy }): Promise<Licensed> => {
    const { design } = sample;
    const terms = { design, objects: 1, machines: [system.machine], materials: [], days: 1, holder: 'operator' };
    const id = await grantLicence(system.owner, { ...terms, ...credits });
    return { content: new Uint8Array(), design, licence: id, objects: 1 };
  };
  async function give(job: Licensed, credit: Attested, to: readonly (typeof nodes)[number][] = nodes) {
    const grant = await grantOf(job);
    const of = { licence: grant, licenceSigner: copyBytes(await credentialOf(system, grant)) };
    const message = { type: 'case.credit' as const, ...of, transaction: copyBytes(credit.transaction) };
    const whole = { ...message, credential: copyBytes(credit.credential) };
    return Promise.all(to.map((role) => outcomeOf(system.nodes[role].parts.streams.credit(whole))));
  }
  async function permitWith(job: Licensed, number: number, credits: readonly Attested[]) {
    const forged = await forgeOpening(system, job, { permit: { number }, credits });
    const says: Record<string, string> = { machine: await outcomeOf(asMachine(forged)) };
    for (const role of nodes) says[role] = await outcomeOf(system.nodes[role].parts.streams.open(forged.opening));
    return says;
  }

  it('a machine that lies about everything, with control’s help, gains one object and no more', async () => {
    const job = await licence();
    const [one, two, four] = objects(job.licence);
    const lies = await Promise.all([one, two, four].map((object) => reported(object, 0)));
    const [first, second] = lies as [Attested, Attested];
    for (let i = 0; i < 3; i++) expect(await give(job, first)).toEqual(['accepted', 'accepted']);
    for (const lie of lies.slice(1)) expect(await give(job, lie)).toEqual(['E_QUOTA', 'E_QUOTA']);
    expect(await permitWith(job, 2, [first])).toEqual(all('accepted'));
    expect(await permitWith(job, 3, [first, second])).toEqual(all('E_LICENCE_EXHAUSTED'));
    expect(await permitWith(job, 3, [...lies, ...lies])).toEqual(all('E_LICENCE_EXHAUSTED'));
  });

  it('nor does it gain more if control tells each node of another object', async () => {
    const job = await licence();
    const [one, two] = objects(job.licence);
    const [first, second] = [await reported(one, 0), await reported(two, 0)];
    expect(await give(job, first, ['keys'])).toEqual(['accepted']);
    expect(await give(job, second, ['segments'])).toEqual(['accepted']);
    expect(await permitWith(job, 3, [first, second])).toEqual(all('E_LICENCE_EXHAUSTED'));
  });

  it('credits nothing by another report, of another machine, of another licence, or without the policy', async () => {
    const [job, other, none] = [await licence(), await licence(), await licence({})];
    const [one] = objects(job.licence);
    const refused = async (of: Licensed, credit: Attested, code: string) => {
      expect(await give(of, credit)).toEqual([code, code]);
      const says = await permitWith(of, 2, [credit]);
      expect(says).toEqual({ machine: code, keys: 'E_LICENCE_EXHAUSTED', segments: 'E_LICENCE_EXHAUSTED' });
    };
    await refused(job, await reported(one, 10), 'E_FORBIDDEN');
    await refused(job, await reported(one, 0, { made: true }), 'E_FORBIDDEN');
    await refused(job, await reported(objects(other.licence)[0], 0), 'E_FORBIDDEN');
    await refused(none, await reported(objects(none.licence)[0], 0), 'E_FORBIDDEN');
    await refused(job, await reported(one, 0, { machine: ELSEWHERE }), 'E_LICENCE_INVALID');
    // The report of one machine with the registration of another one.
    const [own, foreign] = [await reported(one, 0), await reported(one, 0, { machine: ELSEWHERE })];
    await refused(job, { ...foreign, credential: own.credential }, 'E_AUTH');
  });
});

describe('control withholds a credit', () => {
  it('from one node, which then refuses the object; the other one alone cannot make it', async () => {
    const { job, object } = oneMade();
    const { mailbox } = system.nodes.control.context;
    const send = mailbox.send.bind(mailbox);
    const undo = override(mailbox, 'send', async (recipient, id, message) => {
      if (message.type === 'case.credit' && 'role' in recipient && recipient.role === 'keys') return;
      return send(recipient, id, message);
    });
    const credit = await credited(job, object).finally(undo);
    expect(await outcomeOf(system.nodes.segments.parts.streams.credit(await messageOf(job, credit)))).toBe('accepted');
    const says = await permitAnyway(job, 2, [credit]);
    expect(says).toEqual({ machine: 'accepted', keys: 'E_LICENCE_EXHAUSTED', segments: 'accepted' });
  });

  it('until the owner has stated that no object is left, and delivers it then: it adds none at the nodes', async () => {
    const { job, object } = oneMade();
    const { bytes: credit } = await decision(object, system.owner);
    const left = {
      type: 'licence.resume',
      licence: job.licence,
      restore: toHex(systemRandom(16)),
      objects: 0,
    } as const;
    const { bytes: statement } = await signNew(system.owner, left);
    const message = { ...(await messageOf(job, statement)), type: 'licence.resume' as const };
    for (let i = 0; i < 2; i++) {
      for (const role of nodes)
        expect(await outcomeOf(system.nodes[role].parts.streams.resume(message))).toBe('accepted');
      expect(await deliver(job, credit)).toEqual(['accepted', 'accepted']);
    }
    const says = await permitAnyway(job, 2, [credit]);
    expect(says).toEqual({ machine: 'accepted', keys: 'E_LICENCE_EXHAUSTED', segments: 'E_LICENCE_EXHAUSTED' });
  });
});

describe('the operator', () => {
  it('has one case an object and cannot decide it; a replay and a second decision are refused', async () => {
    const { job, object } = oneMade();
    const failed = { object, licence: job.licence };
    const outside = objectId(job.licence, 2);
    const report = (of: string) =>
      outcomeOf(reportFailure(system.operator, { ...failed, object: of }, { reason: 'other' }));
    expect(await report(outside)).toBe('E_NOT_FOUND');
    expect(await report(object)).toBe('accepted');
    expect(await report(object)).toBe('E_CONFLICT');
    const view = await caseOf(object);
    for (const session of [system.operator, system.tenant])
      expect(await outcomeOf(decideCase(session, view, { credit: true }))).toBe('E_FORBIDDEN');
    expect(await outcomeOf(reportFailure(system.tenant, failed, { reason: 'other' }))).toBe('E_FORBIDDEN');
    await decideCase(system.owner, view, { credit: false });
    expect(await outcomeOf(decideCase(system.owner, view, { credit: true }))).toBe('E_STATE');
    expect(await permitted(system, job)).toBe(1);
    expect(await permitAnyway(job, 2)).toEqual(all('E_LICENCE_EXHAUSTED'));
  });

  it('cannot exchange the report under the owner’s decision, nor can control', async () => {
    const { job, object } = oneMade();
    await reportFailure(system.operator, { object, licence: job.licence }, { reason: 'other' });
    const shown = await caseOf(object);
    const signed = readTransaction(fromBase64(shown.report));
    const { installation } = system.installation.directory;
    const other = await signTransaction(system.operator.signer, installation, {
      ...signed,
      type: 'case.report',
      object,
      id: systemRandom(16),
      reason: 'power',
    });
    const forged = { ...shown, report: toBase64(other) };
    expect(await outcomeOf(decideCase(system.owner, forged, { credit: true }))).toBe('E_INPUT');
    // A hostile control node shows a report of its own making, of an object that the holder is content with. The owner's
    // client signs no credit on it, so there is nothing to submit.
    const submitted = vi.spyOn(system.owner.api, 'submit');
    for (const liar of [system.tenant, system.admin, system.owner]) {
      const { bytes } = await signNew(liar, { type: 'case.report', object, reason: 'power' });
      for (const signer of [liar, system.operator]) {
        const credential = toBase64(liar === system.admin ? new Uint8Array() : await credentialOfUser(signer));
        const view = { ...shown, report: toBase64(bytes), credential };
        expect(await outcomeOf(decideCase(system.owner, view, { credit: true }))).not.toBe('accepted');
      }
    }
    expect(submitted).not.toHaveBeenCalled();
    submitted.mockRestore();
    expect(await outcomeOf(decideCase(system.owner, shown, { credit: true }))).toBe('accepted');
    expect(equalBytes(sha256(other), sha256(fromBase64(shown.report)))).toBe(false);
  });
});

describe('more objects in a period than the quota of a subscription', () => {
  const HOUR = 3_600_000;
  it('permitted and dated into other periods by control: refused by both nodes', async () => {
    const start = system.owner.clock.now() - 36 * HOUR;
    const price = { per: 'period', currency: 'EUR', amount: 0, unit: 'day', length: 1, quota: 1, start } as const;
    const terms = { design: first.design, objects: 9, machines: [system.machine], materials: [], days: 9 };
    const job = { ...first, licence: await grantLicence(system.owner, { ...terms, holder: 'operator', price }) };
    const agent = await system.agent();
    expect(await printed(system, job.licence)).toMatchObject({ state: 'completed', object: objectId(job.licence, 1) });
    await agent.close();
    // Control itself refuses while it is honest. The machine cannot count.
    expect(await outcomeOf(printed(system, job.licence))).toBe('E_LICENCE_QUOTA');
    const nodesSay = (code: string) => ({ machine: 'accepted', keys: code, segments: code });
    expect(await permitAnyway(job, 2)).toEqual(nodesSay('E_LICENCE_QUOTA'));
    // The period before had no object, and the next one will have none.
    const now = system.owner.clock.now();
    const dated = (issued: number) => permitAnyway(job, 2, [], { issued, expires: now + 25 * HOUR });
    expect(await dated(now - 13 * HOUR)).toEqual(nodesSay('E_PERMIT'));
    expect(await dated(now + 24 * HOUR)).toEqual(all('E_CLOCK'));
  });
});
