import { type Bytes, copyBytes, decodeCbor, encodeCbor, sleep } from '@millrace/base';
import { grantLicence, requestPrint, signNew } from '@millrace/client';
import { Guards, loadNodeConfig, ObjectRepository } from '@millrace/cloud/parts';
import { generateP256Key, keyName } from '@millrace/identity';
import { type EventRequest, ed25519NoteSigner, exportCertificate } from '@millrace/ledger';
import { registrationHash, sha256 } from '@millrace/protocol';
import { checkAsBuyer, rewritten } from '@millrace/testkit/adversary/certificates';
import type { TestInstallation } from '@millrace/testkit/adversary/coalition';
import { expectTaken, licensed, outcomeOf, printed, until } from '@millrace/testkit/adversary/honest';
import { ELSEWHERE, SITE } from '@millrace/testkit/adversary/hostile-installation';
import { asMachine, forgeOpening, type Lies } from '@millrace/testkit/adversary/opening';
import { override } from '@millrace/testkit/adversary/override';
import { held, limit } from '@millrace/testkit/adversary/position';
import { readCore, readManifest } from '@millrace/vault';
import { expect } from 'vitest';

// The attacks of a lying control node, alone or in a coalition. It has the permit key, the log’s key and all documents.

/** The verdict of every party outside the coalition on an opening. None may be `accepted`. */
export async function judged(system: TestInstallation, lies: Lies): Promise<Record<string, string>> {
  const forged = await forgeOpening(system, system.job, lies);
  const says: Record<string, string> = { machine: await outcomeOf(asMachine(forged)) };
  for (const role of ['keys', 'segments'] as const)
    if (!system.has(role)) says[role] = await outcomeOf(system.nodes[role].parts.streams.open(forged.opening));
  return says;
}

export const refusedByAll = (says: Record<string, string>, code: RegExp) => {
  for (const [who, said] of Object.entries(says)) expect(said, who).toMatch(code);
};

export const readAsOwner = held<TestInstallation>(
  'names an accomplice as the design’s owner, with the owner’s sealed keys',
  'the owner’s key is in the design’s id and in what the keys are sealed to; both proactive nodes verify who registered it',
  async (system) => {
    const { context } = system.nodes.control;
    const { playbook } = system.nodes.keys.parts;
    const { design: victim, keys } = await keptKeys(system);
    const manifest = await playbook.manifest(victim);
    const fields = decodeCbor(manifest, 'manifest') as unknown as Record<string, Uint8Array>;
    const core = decodeCbor(fields.core ?? new Uint8Array(), 'core') as unknown as Record<string, unknown>;
    const own = encodeCbor({ ...core, owner: system.tenant.signer.publicKey } as never);
    const resigned = encodeCbor({ ...fields, core: own } as never);
    const { designId } = readCore(own);
    const body = { type: 'design.add', manifestHash: sha256(resigned), keysHash: sha256(keys) } as const;
    const add = async (design: string, manifestBytes: Bytes) => {
      const signed = await signNew(system.tenant, { ...body, design, manifestHash: sha256(manifestBytes) });
      const { document } = await context.records.users.require(keyName(system.tenant.signer.publicKey));
      const mail = { type: 'design.add' as const, transaction: signed.bytes, credential: document };
      const id = `design/hostile-${design}-${signed.id}`;
      await context.mailbox.send({ node: 'keys-1' }, id, { ...mail, manifest: manifestBytes, keys });
      await context.mailbox.send({ node: 'segments-1' }, id, { ...mail, manifest: manifestBytes });
    };
    await add(designId, resigned);
    await add(victim, manifest);
    // Mail is handled in order: once this design is stored, the hostile mail has been handled.
    await licensed(system, 1);
    const known = playbook.designs().map(({ design }) => design);
    expect(known).toContain(victim);
    expect(known).not.toContain(designId);
    expect(readManifest(await playbook.manifest(victim)).owner).toEqual(copyBytes(system.owner.signer.publicKey));
  },
);

/** A design of the owner, and its content keys as the owner sealed them and control mailed them. */
async function keptKeys(system: TestInstallation): Promise<{ design: string; keys: Bytes }> {
  const { context } = system.nodes.control;
  const kept: Bytes[] = [];
  const send = context.mailbox.send.bind(context.mailbox);
  const undo = override(context.mailbox, 'send', async (recipient, id, message) => {
    if (message.type === 'design.add' && message.keys !== undefined) kept.push(copyBytes(message.keys));
    await send(recipient, id, message);
  });
  const { design } = await licensed(system, 1);
  undo();
  const [keys] = kept;
  if (keys === undefined) throw new Error('no keys passed');
  return { design, keys };
}

export const falseMachine = held<TestInstallation>(
  'shows the owner a machine of its own where the owner looks for one',
  'the owner’s client takes a machine on the administrator’s signature only',
  async (system) => {
    const { context } = system.nodes.control;
    const key = generateP256Key();
    const registration = {
      machine: keyName(key.publicKey),
      publicKey: key.publicKey,
      serial: 'trusted-7',
      kind: 'sink' as const,
      profile: { factor: 1 },
    };
    const signed = await signNew(system.tenant, { type: 'machine.register', machine: registration });
    const genuine = (await context.records.machines.require(system.elsewhere)).document;
    const terms = { objects: 1, materials: [], days: 1, holder: 'operator', design: system.job.design };
    for (const document of [signed.bytes, genuine]) {
      const record = { registration, hash: registrationHash(registration), document };
      if (!(await context.records.machines.create(registration.machine, record)))
        await context.records.machines.update(registration.machine, () => record);
      const grant = grantLicence(system.owner, { ...terms, machines: [registration.serial] });
      expect(await outcomeOf(grant)).toMatch(/^E_(AUTH|SIGNATURE|MACHINE_UNKNOWN)$/);
    }
    await context.records.machines.remove(registration.machine);
  },
);

export const alterAsControl = held<TestInstallation>(
  'permits another design, or another owner’s licence, for the print',
  'licence, design and core are the owner’s signature; machine and proactive nodes verify each for themselves',
  async (system) => {
    const { context } = system.nodes.control;
    refusedByAll(await judged(system, { permit: { design: system.theirs.design } }), /^E_(PERMIT|LICENCE_INVALID)$/);
    const { transaction } = await context.records.licences.require(system.theirs.licence);
    refusedByAll(await judged(system, { licence: transaction }), /^E_(PERMIT|LICENCE_INVALID)$/);
  },
);

export const moreAsControl = held<TestInstallation>(
  'signs permits beyond the licence, and for prints that nobody ordered',
  'the machine, and each proactive node that is honest, verifies the owner’s and the holder’s signatures for itself',
  async (system) => {
    const number = system.job.objects + 1;
    refusedByAll(await judged(system, { permit: { number } }), /^E_LICENCE_EXHAUSTED$/);
    refusedByAll(await judged(system, { holder: system.tenant }), /^E_(AUTH|SIGNATURE)$/);
    refusedByAll(await judged(system, { permit: { object: `${system.job.licence}-7`, number: 8 } }), /^E_PERMIT$/);
  },
);

export const againAsControl = held<TestInstallation>(
  'permits an object that was made for another print, and another object for a print that was made',
  'each proactive node counts for itself; one that is honest is enough',
  async (system) => {
    const agent = await system.agent();
    const made = await printed(system, system.job.licence);
    await agent.close();
    const number = Number(made.object?.split('-')[1]);
    const { transaction: print } = await system.nodes.control.context.records.prints.require(made.print);
    const honest = (['keys', 'segments'] as const).filter((role) => !system.has(role));
    expect(honest.length).toBeGreaterThan(0);
    for (const lies of [{ permit: { number } }, { print, permit: { number: system.job.objects } }]) {
      const { opening } = await forgeOpening(system, system.job, lies);
      for (const role of honest)
        expect(await outcomeOf(system.nodes[role].parts.streams.open(opening)), role).toBe('E_REPLAY');
    }
  },
);

/** Disables the counts of all nodes. */
function forgetEverywhere({ nodes }: TestInstallation): () => void {
  const { enter } = Guards.prototype;
  const undo = [
    override(Guards.prototype, 'enter', function (this: Guards, object, make) {
      this.drop(object);
      return enter.call(this, object, make);
    }),
    override(ObjectRepository.prototype, 'begun', async () => false),
    override(ObjectRepository.prototype, 'use', async () => true),
    override(ObjectRepository.prototype, 'give', async () => undefined),
    override(ObjectRepository.prototype, 'reach', async () => undefined),
    // The log would reject a second start of an object.
    override(nodes.control.context.ledger, 'append', async () => ({}) as never),
    override(nodes.control.context.ledger, 'appendMany', async () => []),
  ];
  return () => {
    for (const step of undo) step();
  };
}

export const againAsAll = held<TestInstallation>(
  'forgets in every node that an object was made, and permits it again to the machine that made it',
  'the machine remembers for itself which objects it has begun',
  async (system) => {
    const { context } = system.nodes.control;
    const agent = await system.agent();
    const { print } = await printed(system, system.job.licence);
    const undo = forgetEverywhere(system);
    const queued = await context.records.prints.update(print, ({ run: _run, permit: _permit, ...record }) => ({
      ...record,
      state: 'queued',
    }));
    context.printQueue.add(queued);
    await until('a second permit', async () => (await context.records.prints.require(print)).permit !== undefined);
    await sleep(1_000);
    await agent.close();
    undo();
    expectTaken(agent, system.job.content);
  },
);

export const moreAsAll = limit<TestInstallation>(
  'permits one object to every machine of the licence, when the holder presses print for each',
  'machines do not know of each other: against control and both proactive nodes together each machine counts for itself',
  async (system) => {
    const { records } = system.nodes.control.context;
    const terms = { design: system.job.design, objects: 1, machines: [SITE, ELSEWHERE], materials: [], days: 1 };
    const licence = await grantLicence(system.owner, { ...terms, holder: 'operator' });
    const first = await system.agent();
    expect(await printed(system, licence)).toMatchObject({ state: 'completed', object: `${licence}-1` });
    await first.close();
    const undo = forgetEverywhere(system);
    await records.claims.remove(`${licence}/1`);
    const second = await system.agent(ELSEWHERE);
    await requestPrint(system.operator, licence, system.elsewhere);
    const whole = () => second.runs[0]?.length === system.job.content.length;
    await until('a second part', whole);
    await second.close();
    undo();
    expectTaken(first, system.job.content);
    expectTaken(second, system.job.content);
    expect((await system.owner.api.licence(licence)).objects).toBe(1);
  },
);

export const forgeAsControl = held<TestInstallation>(
  'writes the life of an object that nobody made into its log, with no documents or with another object’s',
  'a certificate counts with the documents that owner, holder and machine signed for this very object',
  async (system) => {
    const { context } = system.nodes.control;
    const agent = await system.agent();
    const { object = '' } = await printed(system, system.job.licence);
    await agent.close();
    const genuine = await exportCertificate(context.ledger, object);
    expect(await outcomeOf(checkAsBuyer(system, genuine))).toBe('accepted');
    const config = await loadNodeConfig(system.installation.layout.node('control'));
    const invented = `${system.job.licence}-19`;
    const renamed = (event: EventRequest): EventRequest =>
      event.account === object ? { ...event, account: invented } : event;
    const bare = ({ evidence: _none, ...event }: EventRequest): EventRequest => renamed(event);
    for (const change of [renamed, bare]) {
      const signer = ed25519NoteSigner(context.ledger.origin, await config.secret('logKey'));
      const log = await rewritten(context.ledger, signer, change);
      const forged = await exportCertificate(log, invented);
      await log.close();
      expect(await outcomeOf(checkAsBuyer(system, forged))).toMatch(/^E_(EVIDENCE|CERTIFICATE)$/);
    }
  },
);
