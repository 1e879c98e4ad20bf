import { type Bytes, equalBytes, MillraceError, toHex } from '@millrace/base';
import { isSealingPoint, keyName } from '@millrace/identity';
import {
  boxNumberOf,
  chooseNode,
  holderParty,
  licenceFact,
  type Message,
  type MessageOf,
  machineFact,
  ownerParty,
  partyName,
  registrationHash,
  requireUnrevoked,
  sha256,
  type TransactionOf,
} from '@millrace/protocol';
import { contentKeysLength, coreHashOf, KEY_BYTES, readCore, readManifest } from '@millrace/vault';
import { authorize } from '../node/policy.ts';
import { clearAlarm } from './alarms.ts';
import { amended } from './amended.ts';
import { amend } from './amendments.ts';
import { decideCase, reportCase } from './cases.ts';
import type { ControlContext } from './context.ts';
import { shareDesign } from './design-shares.ts';
import { deleteDesign, requireKept } from './designs.ts';
import { assignMachine, setGroup } from './groups.ts';
import { type LicenceRecord, readLicence } from './licence-records.ts';
import { setLicenceStatus } from './licence-status.ts';
import { requireMachines } from './licensed-machines.ts';
import { acceptPart, changeLife } from './life.ts';
import { requireSealedLength, requireSizes } from './limits.ts';
import { certifyMaterial } from './materials.ts';
import { setMaintenance } from './modes.ts';
import { clearOdometer } from './odometers.ts';
import { invite, registerOrganisation } from './people.ts';
import { requestPrint } from './print-requests.ts';
import { cancelPrint, movePrintFirst } from './queued-prints.ts';
import { type DesignRecord, type MachineRecord, seenRecord, signerOf } from './records.ts';
import { requestRehearsal } from './rehearsals.ts';
import { replay } from './replay.ts';
import { resumeLicence } from './resumes.ts';
import { setMachineSettings } from './settings.ts';
import { setSignIn } from './sign-in.ts';
import { loadSpool, unloadSpool } from './spools.ts';
import type { Submitted } from './submitted.ts';
import { createToken, revokeToken } from './tokens.ts';
import { verifySubmitted } from './verify-submitted.ts';
import { introduceMachine } from './visiting-machines.ts';
import { cancelVisit, requestVisit } from './visits.ts';
import { createWebhook, rotateWebhook, sendWebhook, setWebhook } from './webhooks/transactions.ts';

export interface Attachments {
  readonly manifest?: Bytes | undefined;
  readonly keys?: Bytes | undefined;
  readonly secret?: Bytes | undefined;
  readonly evidence?: Bytes | undefined;
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
  const signed = await verifySubmitted(context, bytes, allow);
  const { records } = context;
  const id = toHex(signed.body.id);
  const result = await apply(context, signed, attachments, id);
  await records.seen.create(id, seenRecord(signed.body));
  return { id, type: signed.body.type, ...result };
}

function apply(context: ControlContext, signed: Submitted, attachments: Attachments, id: string) {
  const { body } = signed;
  switch (body.type) {
    case 'user.register':
      return registerUser(context, { ...signed, body });
    case 'machine.register':
      return registerMachine(context, { ...signed, body });
    case 'machine.assign':
      return assignMachine(context, { ...signed, body });
    case 'group.set':
      return setGroup(context, { ...signed, body });
    case 'machine.settings':
      return setMachineSettings(context, { ...signed, body });
    case 'organisation.register':
      return registerOrganisation(context, { ...signed, body });
    case 'member.invite':
    case 'device.invite':
      return invite(context, { ...signed, body });
    case 'key.enrol':
    case 'key.signin':
    case 'certificate.request':
      throw new MillraceError('E_INPUT', `${body.type} is for /v1/enrolments or /v1/certificates`);
    case 'session.open':
      throw new MillraceError('E_INPUT', `${body.type} is for /v1/sessions of the console`);
    case 'upload.open':
      throw new MillraceError('E_INPUT', `${body.type} is for the distribution node, and for designs/ID/uploaded`);
    case 'permit-key.register':
      throw new MillraceError('E_INPUT', 'the permit key is registered in control’s folder, not over the network');
    case 'material.certify':
      return certifyMaterial(context, { ...signed, body }, id);
    case 'spool.load':
      return loadSpool(context, { ...signed, body });
    case 'spool.unload':
      return unloadSpool(context, { ...signed, body });
    case 'odometer.clear':
      return clearOdometer(context, { ...signed, body });
    case 'cloud.recognise':
      throw new MillraceError('E_INPUT', 'a cloud is recognised in the directory: `millrace cloud recognise`');
    case 'machine.introduce':
      return introduceMachine(context, { ...signed, body });
    case 'organisation.signin':
      return setSignIn(context, { ...signed, body });
    case 'token.create':
      return createToken(context, { ...signed, body }, id);
    case 'token.revoke':
      return revokeToken(context, { ...signed, body });
    case 'webhook.create':
      return createWebhook(context, { ...signed, body }, attachments.secret, id);
    case 'webhook.rotate':
      return rotateWebhook(context, { ...signed, body }, attachments.secret);
    case 'webhook.set':
      return setWebhook(context, { ...signed, body });
    case 'webhook.send':
      return sendWebhook(context, { ...signed, body });
    case 'visit.request':
      return requestVisit(context, { ...signed, body }, id);
    case 'visit.cancel':
      return cancelVisit(context, { ...signed, body });
    case 'design.add':
      return addDesign(context, { ...signed, body }, attachments);
    case 'design.delete':
      return deleteDesign(context, { ...signed, body });
    case 'design.share':
      return shareDesign(context, { ...signed, body });
    case 'design.maintenance':
      return setMaintenance(context, { ...signed, body }, id);
    case 'alarm.clear':
      return clearAlarm(context, { ...signed, body });
    case 'licence.grant':
      return grantLicence(context, { ...signed, body }, attachments, id);
    case 'licence.approve':
    case 'licence.extend':
    case 'licence.transfer':
      return amend(context, { ...signed, body });
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
    case 'print.first':
      return movePrintFirst(context, { ...signed, body });
    case 'print.command':
      throw new MillraceError('E_INPUT', 'print.command is for PUT /v1/prints/{id}/pause, resume, cancel or stop');
    case 'camera.watch':
      throw new MillraceError('E_INPUT', 'camera.watch is for POST /v1/machines/{id}/camera');
    case 'rehearsal.request':
      return requestRehearsal(context, { ...signed, body }, id);
    case 'case.report':
      return reportCase(context, { ...signed, body }, attachments.evidence);
    case 'case.decide':
      return decideCase(context, { ...signed, body });
    case 'object.transfer':
    case 'object.appoint':
    case 'object.inspect':
    case 'object.retire':
      return changeLife(context, { ...signed, body });
    case 'object.accept':
      return acceptPart(context, { ...signed, body });
  }
}

async function registerUser(
  context: ControlContext,
  { body, actor, bytes }: Submitted<TransactionOf<'user.register'>>,
) {
  authorize(actor, 'user.register');
  const user = keyName(body.publicKey);
  const record = { user, name: body.name, publicKey: body.publicKey, document: bytes };
  if (!(await context.records.users.create(user, record))) {
    throw new MillraceError('E_CONFLICT', `the user ${user} is already registered`);
  }
  return { user };
}

async function registerMachine(
  context: ControlContext,
  { body, actor, bytes }: Submitted<TransactionOf<'machine.register'>>,
) {
  authorize(actor, 'machine.register');
  const { records, ledger, licensing } = context;
  const { machine } = body.machine;
  if (keyName(body.machine.publicKey) !== machine)
    throw new MillraceError('E_INPUT', 'machine: not the name of its key');
  const record = { registration: body.machine, hash: registrationHash(body.machine), document: bytes };
  return licensing.write(async () => {
    await ledger.append({
      ...machineFact(body, actor.name),
      evidence: [bytes],
      eventId: `machine/${toHex(body.id)}`,
    });
    const known = await records.machines.get(machine);
    await records.machines.put(machine, { ...record, ...assignedBefore(known, record) });
    return { machine };
  });
}

/** The assignment orders later ones, but the organisation holds the machine only as it was registered then. */
function assignedBefore(
  known: MachineRecord | undefined,
  { hash }: Pick<MachineRecord, 'hash'>,
): Pick<MachineRecord, 'assignment' | 'organisation'> {
  const { assignment, organisation } = known ?? {};
  const holds = organisation !== undefined && known !== undefined && equalBytes(known.hash, hash);
  return { ...(assignment && { assignment }), ...(holds && { organisation }) };
}

async function addDesign(
  context: ControlContext,
  { body, actor, signer, credential, bytes }: Submitted<TransactionOf<'design.add'>>,
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
  // The key of the manifest signs, for the organisation that the manifest names.
  if (!equalBytes(manifest.owner, signer) || manifest.organisation !== actor.member?.organisation)
    throw new MillraceError('E_FORBIDDEN', 'the manifest names another owner than the signer');
  const owner = partyName(ownerParty(manifest));
  authorize(actor, 'design.add', { owner });
  requireSealedLength('keys', keys, contentKeysLength(manifest));
  const { directory, records, boxes } = context;
  const added = () =>
    new MillraceError('E_CONFLICT', 'this design was already added', { data: { design: body.design } });
  const known = await records.designs.get(body.design);
  if (known !== undefined) {
    if (!equalBytes(known.transaction, bytes)) throw added();
    await announceDesign(context, body.design); // interrupted before it was complete: this completes it
    return { design: body.design };
  }
  await boxes.requireHeld(chooseNode(directory, 'keys', body.design).id, 'attachments', boxNumberOf(keys));
  const announced = announcements({ transaction: bytes, credential, manifest: manifestBytes }, keys);
  const { segments } = manifest;
  const stored = storedEvent({ design: body.design, segments, transaction: bytes, credential });
  requireSizes([stored], [announced.keys, announced.segments]);
  // First, so that a design that can be found always has its private part.
  if (manifest.private !== undefined) await records.privates.create(body.design, { sealed: manifest.private });
  if (manifest.envelope !== undefined) await records.envelopes.create(body.design, { sealed: manifest.envelope });
  const created = await records.designs.create(body.design, {
    design: body.design,
    owner,
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
    credential,
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
export function storedEvent(record: Pick<DesignRecord, 'design' | 'segments' | 'transaction' | 'credential'>) {
  return {
    account: `design:${record.design}`,
    type: 'stored' as const,
    actor: signerOf(record.transaction),
    body: { segments: record.segments },
    evidence: [record.transaction, record.credential],
    eventId: `stored/${record.design}`,
  };
}

/** Mails a new design to its keys node and all segments nodes; safe to repeat. */
export async function announceDesign({ records, mailbox }: ControlContext, design: string): Promise<void> {
  const { pending, transaction, credential } = await records.designs.require(design);
  if (pending === undefined) return;
  const { keys, segments } = announcements({ transaction, credential, manifest: pending.manifest }, pending.keys);
  await mailbox.send({ role: 'keys', partition: design }, `design/${design}`, keys);
  await mailbox.sendAll('segments', `design/${design}`, segments);
  await records.designs.update(design, ({ pending: _mailed, ...record }) => record);
}

/** Handles the owner's report that every segment is uploaded. */
export async function designUploaded({ records, mailbox, clock }: ControlContext, design: string): Promise<void> {
  const record = await records.designs.update(design, (current) =>
    current.state === 'uploading' ? { ...current, state: 'storing' } : current,
  );
  // To every segments node: the first one that takes the job stores the design.
  if (record.state === 'storing')
    await mailbox.sendAll('segments', `uploaded/${design}/${clock.now()}`, { type: 'design.uploaded', design });
}

async function grantLicence(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'licence.grant'>>,
  { secret }: Attachments,
  licence: string,
) {
  const { directory, records, boxes } = context;
  if (secret === undefined || !equalBytes(sha256(secret), body.secretHash)) {
    throw new MillraceError('E_INPUT', 'licence.grant needs the attachment secret that was signed');
  }
  const design = await records.designs.require(body.design);
  authorize(actor, 'licence.grant', design);
  requireKept(design);
  if (!equalBytes(body.core, coreHashOf(design.core)))
    throw new MillraceError('E_LICENCE_INVALID', 'the licence is for another content of the design');
  if (design.state === 'refused') throw new MillraceError('E_STATE', 'the design was refused and is not stored');
  const holder = partyName(holderParty(body.holder));
  const holders = typeof body.holder === 'string' ? records.organisations : records.users;
  if ((await holders.get(holder)) === undefined)
    throw new MillraceError('E_NOT_FOUND', 'the holder is not a registered user or organisation');
  if (typeof body.holder !== 'string') {
    requireUnrevoked(directory, holder);
    if ((await records.users.get(holder))?.member !== undefined)
      throw new MillraceError('E_INPUT', 'the holder’s key acts for an organisation: the licence has to name that');
  }
  await requireMachines(context, design, body);
  if (!isSealingPoint(body.telemetryKey))
    throw new MillraceError('E_INPUT', 'licence.grant: telemetryKey is not a point on P-256');
  if (body.notAfter <= body.notBefore) throw new MillraceError('E_INPUT', 'the licence ends before it begins');
  requireSealedLength('secret', secret, KEY_BYTES);
  await boxes.requireHeld(chooseNode(directory, 'keys', body.design).id, 'attachments', boxNumberOf(secret));
  const record = {
    licence,
    design: body.design,
    owner: design.owner,
    holder,
    objects: body.objects,
    credits: [],
    transaction: bytes,
    credential,
    ...(await approversOf(context, design)),
    pending: secret,
  };
  await amended(context, record);
  requireSizes(
    [await licensedEvent(context, record)],
    [{ type: 'licence.grant', transaction: bytes, credential, secret }],
  );
  const created = await records.licences.create(licence, record);
  // The same transaction, interrupted before it was complete: this completes it.
  if (!created && !equalBytes((await records.licences.require(licence)).transaction, bytes)) throw replay(licence);
  await announceLicence(context, licence);
  return { licence };
}

/** The design's approvers, each with the party for which the key acts: the parties' people see the licence. */
async function approversOf(
  { records }: ControlContext,
  { core }: DesignRecord,
): Promise<Pick<LicenceRecord, 'approvers'>> {
  const { approvals } = readCore(core);
  if (approvals === undefined) return {};
  const approvers: NonNullable<LicenceRecord['approvers']> = [];
  for (const key of approvals.approvers.map((each) => keyName(each)))
    approvers.push({ key, party: (await records.users.get(key))?.member?.organisation ?? key });
  return { approvers };
}

async function licensedEvent({ records }: ControlContext, record: LicenceRecord) {
  const { core } = await records.designs.require(record.design);
  return {
    ...licenceFact(readLicence(record), signerOf(record.transaction)),
    evidence: [record.transaction, record.credential, core],
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
    credential: record.credential,
    secret: record.pending,
  });
  await records.licences.update(licence, ({ pending: _mailed, ...rest }) => rest);
}
