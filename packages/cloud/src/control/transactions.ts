import { type Bytes, equalBytes, fromHex, MillraceError, toHex } from '@millrace/base';
import { isSealingPoint, keyName } from '@millrace/identity';
import {
  boxNumberOf,
  checkMachine,
  chooseNode,
  licenceFact,
  type Message,
  type MessageOf,
  machineFact,
  registrationHash,
  requireCounting,
  requireUnrevoked,
  type Signed,
  sha256,
  type Transaction,
  type TransactionOf,
  verifyTransaction,
} from '@millrace/protocol';
import { contentKeysLength, coreHashOf, KEY_BYTES, readManifest } from '@millrace/vault';
import { authorize, userActor } from '../node/policy.ts';
import { clearAlarm } from './alarms.ts';
import type { ControlContext } from './context.ts';
import { deleteDesign, requireKept } from './designs.ts';
import { setLicenceStatus } from './licence-status.ts';
import { requireSealedLength, requireSizes } from './limits.ts';
import { setMaintenance } from './modes.ts';
import { requireNewest } from './node-states.ts';
import { invite, registerOrganisation, requireInForce, signingActor } from './people.ts';
import { requestPrint } from './print-requests.ts';
import { cancelPrint } from './queued-prints.ts';
import { type DesignRecord, type LicenceRecord, readLicence, seenRecord } from './records.ts';
import { replay } from './replay.ts';
import { resumeLicence } from './resumes.ts';

export interface Attachments {
  readonly manifest?: Bytes | undefined;
  readonly keys?: Bytes | undefined;
  readonly secret?: Bytes | undefined;
}

/** The answer: the transaction's id and type, and the id of what it created. */
export type TransactionResult = { readonly id: string; readonly type: string; readonly [made: string]: string };

/**
 * Carries out one signed transaction, once. `allow` gets the signer's key name and decides whether the caller may
 * submit it.
 * @throws {MillraceError} E_REPLAY, E_FORBIDDEN and the codes of the transaction's own checks
 */
export async function handleTransaction(
  context: ControlContext,
  bytes: Bytes,
  attachments: Attachments,
  allow: (signer: string) => void,
): Promise<TransactionResult> {
  const { directory, clock, records } = context;
  requireNewest(context);
  const signed = await verifyTransaction(
    bytes,
    directory.installation,
    (id) => userKeyOf(context, toHex(id)),
    clock.now(),
  );
  const signer = keyName(signed.signer);
  allow(signer);
  requireCounting(directory, signer, bytes);
  await requireInForce(context, signer);
  const id = toHex(signed.body.id);
  if ((await records.seen.get(id)) !== undefined) throw replay(id);
  const result = await apply(context, signed, attachments, id);
  await records.seen.create(id, seenRecord(signed.body));
  return { id, type: signed.body.type, ...result };
}

async function userKeyOf(context: ControlContext, name: string) {
  const admin = fromHex(context.directory.adminKey);
  if (name === keyName(admin)) return admin;
  const user = await context.records.users.get(name);
  return user === undefined ? undefined : new Uint8Array(user.publicKey);
}

function apply(context: ControlContext, signed: Signed<Transaction>, attachments: Attachments, id: string) {
  const { body } = signed;
  switch (body.type) {
    case 'user.register':
      return registerUser(context, { ...signed, body });
    case 'machine.register':
      return registerMachine(context, { ...signed, body });
    case 'organisation.register':
      return registerOrganisation(context, { ...signed, body });
    case 'member.invite':
    case 'device.invite':
      return invite(context, { ...signed, body });
    case 'key.enrol':
    case 'certificate.request':
      throw new MillraceError('E_INPUT', `${body.type} is for /v1/enrolments or /v1/certificates`);
    case 'permit-key.register':
      throw new MillraceError('E_INPUT', 'the permit key is registered in control’s folder, not over the network');
    case 'design.add':
      return addDesign(context, { ...signed, body }, attachments);
    case 'design.delete':
      return deleteDesign(context, { ...signed, body });
    case 'design.maintenance':
      return setMaintenance(context, { ...signed, body }, id);
    case 'alarm.clear':
      return clearAlarm(context, { ...signed, body });
    case 'licence.grant':
      return grantLicence(context, { ...signed, body }, attachments, id);
    case 'licence.resume':
      return resumeLicence(context, { ...signed, body }, id);
    case 'licence.suspend':
    case 'licence.reinstate':
    case 'licence.revoke':
      return setLicenceStatus(context, { ...signed, body });
    case 'print.request':
      return requestPrint(context, { ...signed, body }, id);
    case 'print.cancel':
      return cancelPrint(context, { ...signed, body });
  }
}

async function registerUser(context: ControlContext, { body, signer, bytes }: Signed<TransactionOf<'user.register'>>) {
  authorize(userActor(context.directory, keyName(signer)), 'user.register');
  const user = keyName(body.publicKey);
  const record = { user, name: body.name, publicKey: body.publicKey, document: bytes };
  if (!(await context.records.users.create(user, record))) {
    throw new MillraceError('E_CONFLICT', `the user ${user} is already registered`);
  }
  return { user };
}

async function registerMachine(
  context: ControlContext,
  { body, signer, bytes }: Signed<TransactionOf<'machine.register'>>,
) {
  authorize(userActor(context.directory, keyName(signer)), 'machine.register');
  const { records, ledger } = context;
  const { machine } = body.machine;
  if (keyName(body.machine.publicKey) !== machine)
    throw new MillraceError('E_INPUT', 'machine: not the name of its key');
  const record = { registration: body.machine, hash: registrationHash(body.machine), document: bytes };
  await ledger.append({
    ...machineFact(body, keyName(signer)),
    evidence: [bytes],
    eventId: `machine/${toHex(body.id)}`,
  });
  await records.machines.put(machine, record);
  return { machine };
}

async function addDesign(
  context: ControlContext,
  { body, signer, bytes }: Signed<TransactionOf<'design.add'>>,
  { manifest: manifestBytes, keys }: Attachments,
) {
  if (manifestBytes === undefined || keys === undefined) {
    throw new MillraceError('E_INPUT', 'design.add needs the attachments manifest and keys');
  }
  if (!equalBytes(sha256(manifestBytes), body.manifestHash) || !equalBytes(sha256(keys), body.keysHash)) {
    throw new MillraceError('E_INPUT', 'manifest or keys are not those that were signed');
  }
  const manifest = readManifest(manifestBytes);
  if (manifest.designId !== body.design)
    throw new MillraceError('E_INPUT', 'the design’s id is not that of its manifest');
  authorize(await signingActor(context, keyName(signer)), 'design.add', { owner: keyName(manifest.owner) });
  requireSealedLength('keys', keys, contentKeysLength(manifest));
  const { directory, records, boxes } = context;
  await boxes.requireHeld(chooseNode(directory, 'keys', body.design).id, 'attachments', boxNumberOf(keys));
  // Proactive nodes and certificates need the administrator's registration of the owner.
  const { document: registration } = await records.users.require(keyName(signer));
  const added = () =>
    new MillraceError('E_CONFLICT', 'this design was already added', { data: { design: body.design } });
  if ((await records.designs.get(body.design)) !== undefined) throw added();
  const announced = announcements({ transaction: bytes, registration, manifest: manifestBytes }, keys);
  const { segments } = manifest;
  const stored = storedEvent({ design: body.design, owner: keyName(signer), segments, transaction: bytes });
  requireSizes([stored], [announced.keys, announced.segments]);
  // First, so that a design that can be found always has its private part.
  if (manifest.private !== undefined) await records.privates.create(body.design, { sealed: manifest.private });
  const created = await records.designs.create(body.design, {
    design: body.design,
    owner: keyName(signer),
    ownerKey: signer,
    name: neutralName(manifest.designId),
    core: manifest.core,
    custody: manifest.custody,
    kind: manifest.kind,
    size: manifest.size,
    segments: manifest.segments,
    contentMac: manifest.contentMac,
    maintenance: manifest.maintenance,
    state: 'uploading',
    transaction: bytes,
    pending: { manifest: manifestBytes, keys },
  });
  if (!created) throw added();
  await announceDesign(context, body.design);
  return { design: body.design };
}

/** The owner's name for the design is in its private part, which only the owner can open. */
function neutralName(design: string): string {
  return `design ${design.slice(0, 8)}`;
}

type Announced = Omit<MessageOf<'design.add'>, 'type' | 'keys'>;

function announcements(announced: Announced, keys: Uint8Array) {
  const common = { type: 'design.add' as const, ...announced };
  return { keys: { ...common, keys }, segments: common } as { keys: Message; segments: Message };
}

/** Records in the ledger that the segments node has stored a design. */
export function storedEvent(record: Pick<DesignRecord, 'design' | 'owner' | 'segments' | 'transaction'>) {
  return {
    account: `design:${record.design}`,
    type: 'stored' as const,
    actor: record.owner,
    body: { segments: record.segments },
    evidence: [record.transaction],
    eventId: `stored/${record.design}`,
  };
}

/** Mails a new design to keys and segments; safe to repeat. */
export async function announceDesign({ records, mailbox }: ControlContext, design: string): Promise<void> {
  const { pending, transaction, owner } = await records.designs.require(design);
  if (pending === undefined) return;
  const { document: registration } = await records.users.require(owner);
  const { keys, segments } = announcements({ transaction, registration, manifest: pending.manifest }, pending.keys);
  await mailbox.send({ role: 'keys', partition: design }, `design/${design}`, keys);
  await mailbox.send({ role: 'segments', partition: design }, `design/${design}`, segments);
  await records.designs.update(design, ({ pending: _mailed, ...record }) => record);
}

/** Handles the owner's report that every segment is uploaded. */
export async function designUploaded({ records, mailbox, clock }: ControlContext, design: string): Promise<void> {
  const record = await records.designs.update(design, (current) =>
    current.state === 'uploading' ? { ...current, state: 'storing' } : current,
  );
  if (record.state === 'storing')
    await mailbox.send({ role: 'segments', partition: design }, `uploaded/${design}/${clock.now()}`, {
      type: 'design.uploaded',
      design,
    });
}

async function grantLicence(
  context: ControlContext,
  { body, signer, bytes }: Signed<TransactionOf<'licence.grant'>>,
  { secret }: Attachments,
  licence: string,
) {
  const { directory, records, boxes } = context;
  if (secret === undefined || !equalBytes(sha256(secret), body.secretHash)) {
    throw new MillraceError('E_INPUT', 'licence.grant needs the attachment secret that was signed');
  }
  const design = await records.designs.require(body.design);
  authorize(await signingActor(context, keyName(signer)), 'licence.grant', design);
  requireKept(design);
  if (!equalBytes(body.core, coreHashOf(design.core)))
    throw new MillraceError('E_LICENCE_INVALID', 'the licence is for another content of the design');
  if (design.custody === 'owner' && body.machines.some(({ secret: sealed }) => sealed === undefined))
    throw new MillraceError('E_LICENCE_INVALID', 'the design’s secret is not sealed to every machine of the licence');
  if (design.state === 'refused') throw new MillraceError('E_STATE', 'the design was refused and is not stored');
  if ((await records.users.get(keyName(body.holder))) === undefined)
    throw new MillraceError('E_NOT_FOUND', 'the holder is not a registered user');
  requireUnrevoked(directory, keyName(body.holder));
  for (const { machine } of body.machines) {
    const record = await records.machines.get(machine);
    if (record === undefined) throw new MillraceError('E_MACHINE_UNKNOWN', `no machine ${machine} is registered`);
    checkMachine(record.registration, machine, body);
  }
  if (!isSealingPoint(body.telemetryKey))
    throw new MillraceError('E_INPUT', 'licence.grant: telemetryKey is not a point on P-256');
  if (body.notAfter <= body.notBefore) throw new MillraceError('E_INPUT', 'the licence ends before it begins');
  requireSealedLength('secret', secret, KEY_BYTES);
  await boxes.requireHeld(chooseNode(directory, 'keys', body.design).id, 'attachments', boxNumberOf(secret));
  const record = {
    licence,
    design: body.design,
    owner: design.owner,
    holder: keyName(body.holder),
    objects: body.objects,
    transaction: bytes,
    pending: secret,
  };
  requireSizes([await licensedEvent(context, record)], [{ type: 'licence.grant', transaction: bytes, secret }]);
  const created = await records.licences.create(licence, record);
  if (!created) throw replay(licence);
  await announceLicence(context, licence);
  return { licence };
}

async function licensedEvent({ records }: ControlContext, record: LicenceRecord) {
  const owner = await records.users.require(record.owner);
  const { core } = await records.designs.require(record.design);
  return {
    ...licenceFact(readLicence(record), record.owner),
    evidence: [record.transaction, owner.document, core],
    eventId: `licence/${record.licence}`,
  };
}

/** Writes a new licence to the ledger and mails its secret to the keys node; safe to repeat. */
export async function announceLicence(context: ControlContext, licence: string): Promise<void> {
  const { records, mailbox, ledger } = context;
  const record = await records.licences.require(licence);
  if (record.pending === undefined) return;
  await ledger.append(await licensedEvent(context, record));
  await mailbox.send({ role: 'keys', partition: record.design }, `licence/${licence}`, {
    type: 'licence.grant',
    transaction: record.transaction,
    secret: record.pending,
  });
  await records.licences.update(licence, ({ pending: _mailed, ...rest }) => rest);
}
