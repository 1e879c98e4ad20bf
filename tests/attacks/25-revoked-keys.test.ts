import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock, systemRandom } from '@millrace/base';
import { generateUserKey, keyName } from '@millrace/identity';
import {
  directoryFiles,
  documentName,
  encodePublished,
  type RevocationEntry,
  readTransaction,
  signRevocationList,
} from '@millrace/protocol';
import { answerOf, type Licensed, licensed, made, outcomeOf, until } from '@millrace/testkit/adversary/honest';
import {
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { ownLicence } from '@millrace/testkit/adversary/licences';
import { asMachine, forgeOpening } from '@millrace/testkit/adversary/opening';
import { readManifest } from '@millrace/vault';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 25: a thief has the key of a designer, later that of an operator, and control helps the thief. The keys were
// revoked, and control conceals it: only the distribution node got the revocation list. All other parties reject.

let system: HostileInstallation;
let job: Licensed;
beforeAll(async () => {
  system = await openHostileInstallation();
  job = await licensed(system, 3);
}, 60_000);
afterAll(() => system?.close());

let sequence = 0;
const entries: RevocationEntry[] = [];

/** The administrator revokes a key without telling control. */
async function revoke(key: string, kept: readonly Uint8Array[]): Promise<void> {
  const { directory, layout } = system.installation;
  const now = systemClock.now();
  entries.push({ key, name: 'stolen', at: now, kept: kept.map((document) => documentName(document)) });
  const times = { id: systemRandom(16), issued: now, expires: now };
  const list = { type: 'revocations' as const, ...times, sequence: ++sequence, entries };
  const document = await signRevocationList(system.admin.signer, directory.installation, list);
  const body = encodePublished(document);
  const published = system.call('distribution', 'admin', { method: 'POST', path: '/v1/revocations', body });
  expect(await answerOf(published)).toBe('accepted');
  for (const role of ['keys', 'segments'] as const) {
    await until(`${role} has heard of it`, () => holds(join(layout.node(role), directoryFiles.revocations), key));
    // A node writes the list to its disk a moment before it uses it.
    const { parts } = system.nodes[role];
    const used = 'config' in parts ? parts.config.directory : parts.directory;
    await until(`${role} uses it`, async () => (used.revocations?.of(key).length ?? 0) > 0);
  }
}

const holds = (file: string, key: string): Promise<boolean> =>
  readFile(file).then(
    (bytes) => bytes.includes(key),
    () => false,
  );

/** The verdict of each party on an opening that control forged. */
async function verdicts(forged: Awaited<ReturnType<typeof forgeOpening>>): Promise<Record<string, string>> {
  const says: Record<string, string> = { machine: await outcomeOf(asMachine(forged)) };
  for (const role of ['keys', 'segments'] as const)
    says[role] = await outcomeOf(system.nodes[role].parts.streams.open(forged.opening));
  return says;
}

describe('baseline: no key is revoked', () => {
  it('prints, and all parties accept an opening', async () => {
    expect((await made(system, job.licence)).object).toBe(`${job.licence}-1`);
    const forged = await forgeOpening(system, job, { permit: { number: 3, object: `${job.licence}-3` } });
    expect(await outcomeOf(asMachine(forged))).toBe('accepted');
  });
});

describe('a stolen and revoked designer’s key', () => {
  it('grants nothing more, whatever date the thief writes and whatever control says', { timeout: 60_000 }, async () => {
    const { context } = system.nodes.control;
    const record = await context.records.licences.require(job.licence);
    const owner = system.owner;
    // Signed with the stolen key and backdated by an hour, the largest tolerated clock difference.
    const earlier = { now: () => systemClock.now() - 3_600_000, monotonic: () => systemClock.monotonic() };
    const thief = { ...owner, clock: earlier };
    const forged = await ownLicence(system, thief, job.design, SITE);
    await revoke(keyName(owner.signer.publicKey), [record.transaction]);

    expect(readTransaction(forged.transaction).issued).toBeLessThan(systemClock.now() - 3_000_000);
    const { licences, playbook, config } = system.nodes.keys.parts;
    const added = licences.add({
      granted: { transaction: forged.transaction, credential: record.credential, secret: forged.secret },
      directory: config.directory,
      now: systemClock.now(),
      designOf: async (design) => readManifest(await playbook.manifest(design)),
      open: async () => systemRandom(32),
    });
    expect(await outcomeOf(added)).toBe('E_REVOKED');
    // Control accepts it, and makes a permit for it.
    const believed = { ...record, licence: forged.licence, transaction: forged.transaction };
    await context.records.licences.create(forged.licence, believed);
    const agent = await system.agent();
    await until(
      'the machine’s agent has heard of it',
      () => agent.config.directory.revocations?.of(keyName(owner.signer.publicKey)).length === 1,
    );
    const opening = await forgeOpening(system, { ...job, licence: forged.licence }, { holder: owner });
    const says = await verdicts({ ...opening, config: agent.config });
    expect(says).toEqual({ machine: 'E_REVOKED', keys: 'E_REVOKED', segments: 'E_REVOKED' });
    await agent.close();
  });

  it('leaves what the revocation keeps: objects licensed before', { timeout: 60_000 }, async () => {
    expect((await made(system, job.licence)).object).toBe(`${job.licence}-2`);
  });
});

describe('a stolen and revoked operator’s key', () => {
  it('cannot start a print that control has accepted', { timeout: 60_000 }, async () => {
    const { operator } = system;
    await revoke(keyName(operator.signer.publicKey), []);
    const agent = await system.agent();
    await until(
      'the machine’s agent has heard of it',
      () => agent.config.directory.revocations?.of(keyName(operator.signer.publicKey)).length === 1,
    );
    const opening = await forgeOpening(system, job, { permit: { number: 3, object: `${job.licence}-3` } });
    expect(await verdicts({ ...opening, config: agent.config })).toEqual({
      machine: 'E_REVOKED',
      keys: 'E_REVOKED',
      segments: 'E_REVOKED',
    });
    await agent.close();
  });
});

describe('a forged revocation list', () => {
  it('is rejected from a tenant, from control with its own key, and when older', { timeout: 60_000 }, async () => {
    const { installation } = system.installation.directory;
    const now = systemClock.now();
    const entry = { key: keyName(system.tenant.signer.publicKey), name: 'x', at: now, kept: [] };
    const list = {
      type: 'revocations' as const,
      id: systemRandom(16),
      issued: now,
      expires: now,
      sequence: 99,
      entries: [...entries, entry],
    };
    const publish = async (body: Uint8Array) =>
      answerOf(system.call('distribution', 'tenant', { method: 'POST', path: '/v1/revocations', body }));
    for (const signer of [system.tenant.signer, generateUserKey()])
      expect(await publish(encodePublished(await signRevocationList(signer, installation, list)))).toBe('E_AUTH');
    const older = { ...list, sequence: 1 };
    const signed = await signRevocationList(system.admin.signer, installation, older);
    expect(await publish(encodePublished(signed))).toBe('E_CONFLICT');
    const shorter = { ...list, entries: [entry] };
    const forgetting = await signRevocationList(system.admin.signer, installation, shorter);
    expect(await publish(encodePublished(forgetting))).toBe('E_CONFLICT');
    // The keys of the proactive nodes still have their list.
    const held = system.nodes.keys.parts.config.directory.revocations;
    expect(held?.of(keyName(system.operator.signer.publicKey))).toHaveLength(1);
    expect(held?.of(entry.key)).toHaveLength(0);
  });
});
