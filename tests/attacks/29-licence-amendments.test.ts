import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, copyBytes } from '@millrace/base';
import {
  approvable,
  approvalDemand,
  approveLicence,
  extendLicence,
  grantLicence,
  type LicenceTerms,
  type Session,
  signNew,
  storeDesign,
  transferLicence,
} from '@millrace/client';
import { prepareFile } from '@millrace/client/node';
import { keyName } from '@millrace/identity';
import { documentName, readTransaction } from '@millrace/protocol';
import { type Licensed, licensed, outcomeOf, SEGMENT } from '@millrace/testkit/adversary/honest';
import {
  ELSEWHERE,
  type HostileInstallation,
  openHostileInstallation,
} from '@millrace/testkit/adversary/hostile-installation';
import { addOrganisation, joined } from '@millrace/testkit/adversary/members';
import { asMachine, forgeOpening, type Lies } from '@millrace/testkit/adversary/opening';
import { randomDesign } from '@millrace/testkit/designs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 29: control forges, withholds, replays and reorders approvals, extensions and transfers of a licence. It has its
// real keys and all documents, and other parties help it with theirs. Proactive nodes and agent are honest.

let system: HostileInstallation;
let owner: Session;
beforeAll(async () => {
  system = await openHostileInstallation();
  owner = system.owner;
});
afterAll(() => system?.close());

/** What keys node, segments node and agent answer when control permits an object with these documents. */
async function permitAnyway(job: Licensed, lies: Lies = {}): Promise<string[]> {
  const forged = await forgeOpening(system, job, lies);
  return [
    await outcomeOf(system.nodes.keys.parts.streams.open(forged.opening)),
    await outcomeOf(system.nodes.segments.parts.streams.open(forged.opening)),
    await outcomeOf(asMachine(forged)),
  ];
}
const all = (code: string) => [code, code, code];

async function licence(design: string, terms: Partial<LicenceTerms> = {}): Promise<Licensed> {
  const usual = { design, objects: 9, machines: [system.machine], materials: [], days: 1, holder: 'operator' };
  const id = await grantLicence(owner, { ...usual, ...terms });
  return { content: new Uint8Array(), design, licence: id, objects: 9 };
}
const recordOf = ({ licence: id }: Licensed) => system.nodes.control.context.records.licences.require(id);
const grantOf = async (job: Licensed) => copyBytes((await recordOf(job)).transaction);
const amendmentsOf = async (job: Licensed): Promise<Bytes[]> =>
  ((await recordOf(job)).amendments ?? []).map(({ transaction }) => copyBytes(transaction));
const approval = async (signer: Session, job: Licensed, document: Uint8Array) =>
  (await signNew(signer, { type: 'licence.approve', licence: job.licence, document: documentName(document) })).bytes;

describe('a design that asks for two approvals', () => {
  let design: string;
  beforeAll(async () => {
    const file = join(system.scratch, 'approved.bin');
    await writeFile(file, randomDesign(2 * SEGMENT));
    const approvals = await approvalDemand(owner, 2, ['owner', 'tenant']);
    const options = { kind: 'binary', bytesPerSecond: 1e9, approvals };
    design = (await storeDesign(owner, await prepareFile(owner, file, options, () => undefined), () => undefined))
      .design;
  });

  it('baseline: with both approvals everybody accepts', async () => {
    const job = await licence(design);
    const [document] = await approvable(system.tenant, job.licence);
    if (document === undefined) throw new Error('nothing to approve');
    await approveLicence(system.tenant, job.licence, document);
    expect(await permitAnyway(job)).toEqual(all('accepted'));
  });

  it('is not made without them, whatever control shows of its own', async () => {
    const job = await licence(design);
    const grant = await grantOf(job);
    expect(await permitAnyway(job)).toEqual(all('E_LICENCE_PENDING'));
    const twice = [await approval(owner, job, grant), await approval(owner, job, grant)];
    expect(await permitAnyway(job, { amendments: twice })).toEqual(all('E_LICENCE_PENDING'));
    for (const helper of [system.operator, system.admin])
      expect(await permitAnyway(job, { amendments: [await approval(helper, job, grant)] })).toEqual(
        all('E_LICENCE_INVALID'),
      );
    // The real approval of another licence of the same design.
    const other = await licence(design);
    const real = await approval(system.tenant, other, await grantOf(other));
    expect(await permitAnyway(job, { amendments: [real] })).toEqual(all('E_LICENCE_INVALID'));
    expect(await permitAnyway(other, { amendments: [real] })).toEqual(all('accepted'));
  });

  it('is not made on a machine that only the owner has added', async () => {
    const job = await licence(design);
    const grant = await approval(system.tenant, job, await grantOf(job));
    await extendLicence(owner, job.licence, { machines: [system.elsewhere] });
    const [extension = new Uint8Array()] = await amendmentsOf(job);
    const elsewhere = { machine: ELSEWHERE, permit: { number: 2 } };
    expect(await permitAnyway(job, { ...elsewhere, amendments: [grant, extension] })).toEqual(all('E_LICENCE_INVALID'));
    const second = await approval(system.tenant, job, extension);
    expect(await permitAnyway(job, { ...elsewhere, amendments: [grant, extension, second] })).toEqual(all('accepted'));
  });
});

describe('an extension', () => {
  it('that somebody else signed, or that is of another licence, adds no machine', async () => {
    const [job, other] = [await licensed(system, 9), await licensed(system, 9)];
    await extendLicence(owner, other.licence, { machines: [system.elsewhere] });
    const foreign = await amendmentsOf(other);
    const elsewhere = { machine: ELSEWHERE };
    expect(await permitAnyway(job, { ...elsewhere, amendments: foreign })).toEqual(all('E_LICENCE_INVALID'));
    expect(await permitAnyway(job, elsewhere)).toEqual(all('E_LICENCE_INVALID'));
    const body = readTransaction(foreign[0] ?? new Uint8Array());
    if (body.type !== 'licence.extend') throw new Error('not an extension');
    const { machines } = body;
    for (const signer of [system.operator, system.tenant, system.admin]) {
      const { bytes } = await signNew(signer, { type: 'licence.extend', licence: job.licence, machines });
      expect(await permitAnyway(job, { ...elsewhere, amendments: [bytes] })).toEqual(all('E_LICENCE_INVALID'));
    }
    expect(await permitAnyway(other, elsewhere)).toEqual(all('accepted'));
  });
});

describe('a transfer', () => {
  const transfer = async (signer: Session, job: Licensed, number: number, to: Session) => {
    const body = { type: 'licence.transfer' as const, licence: job.licence, number, to: to.signer.publicKey };
    return (await signNew(signer, body)).bytes;
  };

  it('baseline: a node that has not seen it accepts an order of the former holder', async () => {
    const { design } = await licensed(system, 1);
    const job = await licence(design, { transfer: 'alone' });
    await transfer(system.operator, job, 1, system.tenant);
    expect(await permitAnyway(job, { amendments: [] })).toEqual(all('accepted'));
  });

  it('cannot be withdrawn from a node that has seen it, nor be replaced by another one', async () => {
    const { design } = await licensed(system, 1);
    const job = await licence(design, { transfer: 'alone' });
    await transferLicence(system.operator, await system.operator.api.licence(job.licence), 'tenant');
    const chain = await amendmentsOf(job);
    expect(await permitAnyway(job, { holder: system.tenant })).toEqual(all('accepted'));
    // Control shows the licence as it was, and the former holder orders.
    const permit = { number: 2 };
    const [keys, segments] = await permitAnyway(job, { amendments: [], permit });
    expect([keys, segments]).toEqual(['E_LICENCE_INVALID', 'E_LICENCE_INVALID']);
    expect(await permitAnyway(job, { amendments: chain, permit })).toEqual(all('E_AUTH'));
    const fork = [await transfer(system.operator, job, 1, owner)];
    const forked = await permitAnyway(job, { amendments: fork, holder: owner, permit });
    expect(forked.slice(0, 2)).toEqual(['E_LICENCE_INVALID', 'E_LICENCE_INVALID']);
    expect(await permitAnyway(job, { holder: system.tenant, permit })).toEqual(all('accepted'));
  });

  it('by somebody else than the holder, or against the terms, is refused', async () => {
    const { design, ...none } = await licensed(system, 1);
    const job = await licence(design, { transfer: 'with-approval' });
    const given = await transfer(system.operator, job, 1, system.tenant);
    const holder = system.tenant;
    expect(await permitAnyway(job, { amendments: [given], holder })).toEqual(all('E_AUTH'));
    const self = await approval(system.operator, job, given);
    expect(await permitAnyway(job, { amendments: [given, self], holder })).toEqual(all('E_LICENCE_INVALID'));
    const own = await approval(owner, job, given);
    expect(await permitAnyway(job, { amendments: [given, own], holder })).toEqual(all('accepted'));
    for (const thief of [system.tenant, owner])
      expect(await permitAnyway(job, { amendments: [await transfer(thief, job, 1, holder)], holder })).toEqual(
        all('E_LICENCE_INVALID'),
      );
    const plain = { ...none, design, licence: (await licence(design)).licence };
    const refused = await transfer(system.operator, plain, 1, system.tenant);
    expect(await permitAnyway(plain, { amendments: [refused], holder })).toEqual(all('E_LICENCE_INVALID'));
  });

  it('of an organisation’s licence is approved by its designers, not by its other people, approvers or not', async () => {
    const brand = await addOrganisation(system, 'Brand', 'brand');
    const dora = await joined(system, brand, 'Dora', 'designer');
    const ann = await joined(system, brand, 'Ann', 'auditor');
    const bob = await joined(system, brand, 'Bob', 'auditor');
    const file = join(system.scratch, 'transferred.bin');
    await writeFile(file, randomDesign(2 * SEGMENT));
    const approvals = { needed: 1, approvers: [ann.signer.publicKey] };
    const options = { kind: 'binary', bytesPerSecond: 1e9, approvals } as const;
    const { design } = await storeDesign(
      dora,
      await prepareFile(dora, file, options, () => undefined),
      () => undefined,
    );
    const holder = keyName(system.operator.signer.publicKey);
    const terms = { design, objects: 9, machines: [system.machine], materials: [], days: 1, holder };
    const id = await grantLicence(dora, { ...terms, transfer: 'with-approval' });
    const job: Licensed = { content: new Uint8Array(), design, licence: id, objects: 9 };
    const granted = await approval(ann, job, await grantOf(job));
    const given = await transfer(system.operator, job, 1, system.tenant);
    const approvedBy = async (...people: Session[]) => {
      const approved = await Promise.all(people.map((person) => approval(person, job, given)));
      return permitAnyway(job, { amendments: [granted, given, ...approved], holder: system.tenant });
    };
    // Ann approves what is made. That does not let her choose who makes it.
    expect(await approvedBy(ann)).toEqual(all('E_AUTH'));
    expect(await approvedBy(bob)).toEqual(all('E_LICENCE_INVALID'));
    // Control, honest: it takes neither as the owner's approval.
    const submitted = async (person: Session, document: Uint8Array) =>
      outcomeOf(person.api.submit(await approval(person, job, document)));
    expect(await submitted(ann, await grantOf(job))).toBe('accepted');
    await transferLicence(system.operator, await system.operator.api.licence(job.licence), 'tenant');
    const [, pending = new Uint8Array()] = await amendmentsOf(job);
    expect([await submitted(ann, pending), await submitted(bob, pending)]).toEqual(['accepted', 'E_FORBIDDEN']);
    expect((await recordOf(job)).holder).not.toBe(keyName(system.tenant.signer.publicKey));
    expect(await submitted(dora, pending)).toBe('accepted');
    expect((await recordOf(job)).holder).toBe(keyName(system.tenant.signer.publicKey));
    expect(await permitAnyway(job, { holder: system.tenant })).toEqual(all('accepted'));
    for (const session of [dora, ann, bob]) session.close();
  });
});
