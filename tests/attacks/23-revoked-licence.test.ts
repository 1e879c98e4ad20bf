import { type Bytes, copyBytes, equalBytes } from '@millrace/base';
import { reinstateLicence, revokeLicence, type Session, signNew, suspendLicence } from '@millrace/client';
import { type Licensed, licensed, outcomeOf } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { credentialOf, forgeOpening } from '@millrace/testkit/adversary/opening';
import { override } from '@millrace/testkit/adversary/override';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 23: a control node ignores the owner's statements about a licence. It has its real keys and all documents. The
// proactive nodes are honest.

let system: HostileInstallation;
let owner: Session;
beforeAll(async () => {
  system = await openHostileInstallation();
  owner = system.owner;
});
afterAll(() => system?.close());

const nodes = ['keys', 'segments'] as const;
const view = (job: Licensed) => owner.api.licence(job.licence);

/** What each proactive node answers when control permits one more object, whatever control's records say. */
async function permitAnyway(job: Licensed, number: number): Promise<string[]> {
  const { opening } = await forgeOpening(system, job, { permit: { number } });
  return Promise.all(nodes.map((role) => outcomeOf(system.nodes[role].parts.streams.open(opening))));
}

/** Delivers a statement to each node as mail of control. */
const deliver = (licence: Bytes, transaction: Bytes) =>
  Promise.all(nodes.map((role) => deliverTo(role, licence, transaction)));

async function deliverTo(role: (typeof nodes)[number], licence: Bytes, transaction: Bytes): Promise<string> {
  const [licenceSigner, credential] = [await credentialOf(system, licence), await credentialOf(system, transaction)];
  const type = 'licence.status' as const;
  const [of, by] = [copyBytes(licenceSigner), copyBytes(credential)];
  const statement = { type, licence, licenceSigner: of, transaction, credential: by };
  return outcomeOf(system.nodes[role].parts.streams.setLicenceStatus(statement));
}

const grantOf = async ({ licence }: Licensed) =>
  copyBytes((await system.nodes.control.context.records.licences.require(licence)).transaction);

/** The statements that the owner signs, and that control accepts but does not mail. */
async function withheld(statements: () => Promise<void>): Promise<Bytes[]> {
  const { mailbox } = system.nodes.control.context;
  const kept: Bytes[] = [];
  const send = mailbox.send.bind(mailbox);
  const undo = override(mailbox, 'send', async (recipient, id, message) => {
    if (message.type !== 'licence.status') return send(recipient, id, message);
    if (!kept.some((known) => equalBytes(known, message.transaction))) kept.push(copyBytes(message.transaction));
  });
  await statements().finally(undo);
  return kept;
}

describe('control permits objects of a licence that its owner has revoked', () => {
  it('baseline: control withholds the revocation from both nodes, which continue, but never beyond N', async () => {
    const job = await licensed(system, 3);
    await withheld(async () => revokeLicence(owner, await view(job), { stop: true }));
    expect(await permitAnyway(job, 1)).toEqual(['accepted', 'accepted']);
    expect(await permitAnyway(job, 4)).toEqual(['E_LICENCE_EXHAUSTED', 'E_LICENCE_EXHAUSTED']);
  });

  it('each node with the revocation rejects independently, also when the other one never got it', async () => {
    const job = await licensed(system, 9);
    const revoke = async () => revokeLicence(owner, await view(job), { stop: false });
    const [statement = new Uint8Array()] = await withheld(revoke);
    const licence = await grantOf(job);
    expect(await deliverTo('keys', licence, statement)).toBe('accepted');
    expect(await permitAnyway(job, 1)).toEqual(['E_LICENCE_REVOKED', 'accepted']);
    await deliver(licence, statement);
    expect(await permitAnyway(job, 2)).toEqual(['E_LICENCE_REVOKED', 'E_LICENCE_REVOKED']);
    // Control's own records are forged too.
    const { records } = system.nodes.control.context;
    await records.licences.update(job.licence, ({ status: _none, statement: _neither, ...record }) => record);
    expect(await permitAnyway(job, 3)).toEqual(['E_LICENCE_REVOKED', 'E_LICENCE_REVOKED']);
  });
});

describe('control reinstates a suspended licence', () => {
  it('with an older reinstatement, which no node accepts', async () => {
    const job = await licensed(system, 9);
    const kept = await withheld(async () => {
      await suspendLicence(owner, await view(job));
      await reinstateLicence(owner, await view(job));
      await suspendLicence(owner, await view(job));
    });
    const licence = await grantOf(job);
    // In order, and then again in orders that might help.
    for (const statement of [...kept, ...kept.toReversed(), ...kept.slice(1, 2)])
      expect(await deliver(licence, statement)).toEqual(['accepted', 'accepted']);
    expect(await permitAnyway(job, 1)).toEqual(['E_LICENCE_SUSPENDED', 'E_LICENCE_SUSPENDED']);
  });

  it('with a reinstatement that another party signed, or that is of another licence', async () => {
    const [job, other] = [await licensed(system, 9), await licensed(system, 9)];
    const licence = await grantOf(job);
    for (const statement of await withheld(async () => suspendLicence(owner, await view(job))))
      await deliver(licence, statement);
    const number = Date.now() + 1_000_000;
    const sign = async (signer: Session, on: string) =>
      (await signNew(signer, { type: 'licence.reinstate', licence: on, number })).bytes;
    for (const signer of [system.operator, system.tenant, system.admin])
      expect(await deliver(licence, await sign(signer, job.licence))).toEqual(['E_AUTH', 'E_AUTH']);
    const foreign = await sign(owner, other.licence);
    expect(await deliver(licence, foreign)).toEqual(['E_FORBIDDEN', 'E_FORBIDDEN']);
    expect(await deliver(await grantOf(other), foreign)).toEqual(['accepted', 'accepted']);
    expect(await permitAnyway(job, 1)).toEqual(['E_LICENCE_SUSPENDED', 'E_LICENCE_SUSPENDED']);
  });
});

describe('control’s view for the owner', () => {
  it('cannot make the owner sign an older statement than the newest, or exhaust the numbers', async () => {
    const job = await licensed(system, 2);
    const shown = await view(job);
    await suspendLicence(owner, shown);
    await reinstateLicence(owner, shown); // an old view: no statement
    expect(await view(job)).toMatchObject({ status: 'active' });
    const { bytes } = await signNew(system.tenant, {
      type: 'licence.suspend',
      licence: job.licence,
      number: Number.MAX_SAFE_INTEGER,
    });
    const forged = { ...(await view(job)), statement: Buffer.from(bytes).toString('base64') };
    await expect(suspendLicence(owner, forged)).rejects.toMatchObject({ code: 'E_AUTH' });
  });
});
