import { type Bytes, copyBytes, equalBytes, MillraceError, toHex } from '@millrace/base';
import { keyId, keyName, parseSign1 } from '@millrace/identity';
import type { CertifiedAccount, LoggedEvent } from '@millrace/ledger';
import {
  type AmendedLicence,
  type Amendment,
  type Attested,
  activeLicence,
  amendLicence,
  amendmentFact,
  creditFact,
  earlyFailureFact,
  holderParty,
  isAmendment,
  isLicenceStatement,
  isMachineReport,
  type LicenceStatus,
  leftFact,
  licenceFact,
  licenceOf,
  type Machine,
  machineFact,
  ownerParty,
  type Party,
  readTransaction,
  registrationHash,
  sameParty,
  statusAfter,
  statusFact,
  type TransactionOf,
  verifyEarlyFailure,
  visitorFact,
} from '@millrace/protocol';
import { type NamedCore, readCore } from '@millrace/vault';
import { type Documents, documentsOf, prove, requireFact, type Signatory, type Trusted, unfit } from './documents.ts';

export interface ProvenLicence {
  readonly terms: TransactionOf<'licence.grant'>;
  /** The owner of the design: an organisation, or a key alone. */
  readonly owner: Party;
  /** Who signed the licence for the owner. Attested by the administrator only if an authority is given. */
  readonly signatory: Signatory;
  /** The owner's commitment: to every byte of the design, and to the MAC of what a machine executed of it. */
  readonly core: NamedCore;
  /** The owner's statements after restored backups: from entry `index` on, objects up to `floor` count as made. */
  readonly left: readonly { readonly index: number; readonly floor: number }[];
  /** Failed objects that the owner has credited, each from entry `index` on. */
  readonly credits: readonly ProvenCredit[];
  /** Changes of the licence's status by the owner's statements: `status` applies from entry `index` on. */
  readonly statuses: readonly { readonly index: number; readonly status: LicenceStatus }[];
  /** The licence with the approvals, extensions and transfers before this entry of the log. */
  at(index: number): AmendedLicence;
}

export interface ProvenCredit {
  readonly index: number;
  readonly object: string;
  /** Credited by the licence's policy, for a failure that the machine has signed. */
  readonly byPolicy: boolean;
}

/**
 * Verifies the licence, signed for the owner: by the key that the verifier named, or by a key that the administrator
 * registered as the owner or as a designer of the organisation that owns the design.
 */
export async function proveLicence(
  account: CertifiedAccount,
  trusted: Trusted,
  documents: Documents,
): Promise<ProvenLicence> {
  const [granted, ...later] = account.events;
  if (granted === undefined) throw unfit(`${account.account} has no event`);
  const licence = await prove(granted, async () => {
    const names = ['licence.grant', 'signer’s credential', 'design core'];
    const [transaction, credential, committed] = documentsOf(granted, names) as [Bytes, Bytes, Bytes];
    const core = readCore(committed);
    const owner = ownerParty(core);
    const wanted = { party: owner, role: 'designer', type: 'licence.grant' } as const;
    const { body: terms, signatory } = await documents.actedFor(wanted, { transaction, credential }, trusted);
    requireNamed(owner, signatory.publicKey, trusted);
    requireFact(granted, licenceFact(terms, keyName(signatory.publicKey)));
    if (core.designId !== terms.design || !equalBytes(core.coreHash, terms.core))
      throw unfit('the core is not of the design that the owner has licensed');
    return { terms, owner, signatory, core, grant: transaction };
  });
  const credits: ProvenCredit[] = [];
  const amendments: (ProvenAmendment & { readonly index: number })[] = [];
  const at = (end: number) =>
    amendLicence(
      licence.grant,
      amendments.filter(({ index }) => index < end),
      {
        ...{ owner: licence.owner, approvals: licence.core.approvals, counts: () => true },
        byDesigner: (approval) => amendments.some(({ transaction, designer }) => designer && transaction === approval),
      },
    );
  const left: { index: number; floor: number }[] = [];
  const statuses: { index: number; status: LicenceStatus }[] = [];
  for (const logged of later) {
    const { index } = logged;
    if (logged.event.type === 'credited') {
      credits.push(await prove(logged, () => proveCredit(logged, { ...licence, credits }, trusted, documents)));
      continue;
    }
    const amendment = amendmentOf(logged);
    if (amendment !== undefined) {
      const before = { ...licence, holder: at(index).terms.holder };
      amendments.push({
        index,
        ...(await prove(logged, () => proveAmendment(logged, amendment, before, trusted, documents))),
      });
      continue;
    }
    const allowed = licence.terms.objects + credits.length;
    const word = await prove(logged, () => proveStatement(logged, { ...licence, allowed }, trusted, documents));
    if (word.type === 'licence.resume') left.push({ index, floor: allowed - word.objects });
    else statuses.push({ index, status: statusAfter(statuses.at(-1)?.status ?? activeLicence, word) });
  }
  return { ...licence, credits, left, statuses, at };
}

/** What an event's document states, if it is an approval, an extension or a transfer. */
function amendmentOf({ event }: LoggedEvent): Amendment | undefined {
  const [document] = event.evidence ?? [];
  const body = document && readTransaction(document);
  return body !== undefined && isAmendment(body) ? body : undefined;
}

type Before = Pick<ProvenLicence, 'terms' | 'owner' | 'core'> & Pick<TransactionOf<'licence.grant'>, 'holder'>;

interface ProvenAmendment extends Attested {
  /** Whether a designer of the owner has signed it. An approver need not be one. */
  readonly designer: boolean;
}

/** Verifies an approval, extension or transfer with the key of a party that may sign it. */
async function proveAmendment(
  logged: LoggedEvent,
  claimed: Amendment,
  { terms, owner, core, holder }: Before,
  trusted: Trusted,
  documents: Documents,
): Promise<ProvenAmendment> {
  const names = ['the amendment', 'signer’s credential'];
  const [transaction, credential] = documentsOf(logged, names) as [Bytes, Bytes];
  const attested = { transaction, credential };
  const signer = parseSign1(transaction).keyId;
  const approver = core.approvals?.approvers.find((key) => equalBytes(keyId(key), signer));
  if (claimed.licence !== toHex(terms.id)) throw unfit('it is of another licence');
  if (claimed.type === 'licence.approve' && approver !== undefined) {
    const acted = await documents
      .actedFor({ party: owner, role: 'designer', type: claimed.type }, attested, trusted)
      .catch((error: unknown) => {
        if (!(error instanceof MillraceError)) throw error;
      });
    // The core names the approver's key.
    const body = acted?.body ?? (await documents.transaction(transaction, copyBytes(approver), claimed.type));
    requireFact(logged, amendmentFact(body, keyName(approver)));
    const alone = 'key' in owner && equalBytes(owner.key, approver);
    return { ...attested, designer: acted !== undefined || alone };
  }
  const wanted =
    claimed.type === 'licence.transfer'
      ? ({ party: holderParty(holder), role: 'operator' } as const)
      : ({ party: owner, role: 'designer' } as const);
  const { body, signatory } = await documents.actedFor({ ...wanted, type: claimed.type }, attested, trusted);
  requireFact(logged, amendmentFact(body, keyName(signatory.publicKey)));
  return { ...attested, designer: claimed.type !== 'licence.transfer' };
}

/** Verifies that the owner has credited an object of the licence: by a decision, or by the licence's policy. */
async function proveCredit(
  logged: LoggedEvent,
  { terms, owner: party, credits }: Pick<ProvenLicence, 'terms' | 'owner' | 'credits'>,
  trusted: Trusted,
  documents: Documents,
): Promise<ProvenCredit> {
  const { index } = logged;
  const [transaction, credential] = documentsOf(logged, ['the credit', 'signer’s credential']) as [Bytes, Bytes];
  if (isMachineReport(transaction)) {
    // The same report stands behind the failure, in the object's account.
    const failure = await verifyEarlyFailure({ transaction, credential }, terms, documents);
    requireFact(logged, earlyFailureFact(failure));
    const { object } = failure.report;
    const before = credits.filter(({ byPolicy }) => byPolicy).length;
    if (before >= (terms.creditPolicy?.most ?? 0) || credits.some((credit) => credit.object === object))
      throw unfit('the policy of the licence credits no further object');
    return { index, object, byPolicy: true };
  }
  const wanted = { party, role: 'designer', type: 'case.decide' } as const;
  const { body, signatory } = await documents.actedFor(wanted, { transaction, credential }, trusted);
  if (!body.credit || licenceOf(body.object) !== toHex(terms.id)) throw unfit('no credit of this licence');
  requireFact(logged, creditFact(body, keyName(signatory.publicKey)));
  return { index, object: body.object, byPolicy: false };
}

/** Requires the owner whom the verifier named: a key that signed the licence, or an organisation. */
function requireNamed(owner: Party, signer: Uint8Array, trusted: Trusted): void {
  if (trusted.owner !== undefined && !equalBytes(trusted.owner, signer))
    throw unfit('the licence is signed by another key than the one that you named');
  if (trusted.organisation !== undefined && !sameParty(owner, { organisation: trusted.organisation }))
    throw unfit('the design belongs to another owner than the organisation that you named');
}

const statementTypes = ['licence.resume', 'licence.suspend', 'licence.reinstate', 'licence.revoke'] as const;

/** Verifies the owner's later statements on a licence. */
async function proveStatement(
  logged: LoggedEvent,
  { terms, owner, allowed }: Pick<ProvenLicence, 'terms' | 'owner'> & { readonly allowed: number },
  trusted: Trusted,
  documents: Documents,
) {
  if (logged.event.type !== 'inspected') return refuse(logged);
  const names = ['the owner’s statement', 'signer’s credential'];
  const [transaction, credential] = documentsOf(logged, names) as [Bytes, Bytes];
  const type = statementTypes.find((name) => name === readTransaction(transaction).type);
  if (type === undefined) throw unfit('no statement on a licence');
  const wanted = { party: owner, role: 'designer', type } as const;
  const { body: word, signatory } = await documents.actedFor(wanted, { transaction, credential }, trusted);
  const actor = keyName(signatory.publicKey);
  if (word.licence !== toHex(terms.id)) throw unfit('it is of another licence');
  if (isLicenceStatement(word)) requireFact(logged, statusFact(word, actor));
  else {
    if (word.objects > allowed) throw unfit(`the licence allows ${allowed} objects`);
    requireFact(logged, leftFact(word, actor));
  }
  return word;
}

/** A machine as the licence names it, with the log entry of that registration. */
export interface ProvenMachine {
  readonly machine: Machine;
  readonly index: number;
  /** Gaps in the machine's odometer that the log reports, of any of its objects. */
  readonly gaps: number;
  /** The machine's cloud, if it is another one, as the administrator has recognised it. */
  readonly cloud: RecognisedParty | undefined;
}

export interface RecognisedParty {
  readonly installation: string;
  readonly name: string;
  /** Key of that cloud's administrator, 33 bytes. */
  readonly adminKey: Bytes;
}

/**
 * Verifies the registrations of the object's machine. The owner has signed the hash of the relevant one; for a member of
 * a group that the licence does not name, the administrator has. If the verifier knows the administrator's key, its
 * signature is checked on all of them.
 * @param wanted hash of the relevant registration, and the machine's cloud, if it is another one
 */
export async function proveMachine(
  account: CertifiedAccount,
  wanted: { readonly registration: Uint8Array; readonly cloud?: string | undefined },
  trusted: Trusted,
  documents: Documents,
): Promise<ProvenMachine> {
  let found: ProvenMachine | undefined;
  let gaps = 0;
  for (const logged of account.events) {
    // A gap in the odometer, or an owner who has looked into it: it can only count against the machine.
    if (logged.event.type === 'alarmed') gaps += 1;
    if (logged.event.type === 'alarmed' || logged.event.type === 'inspected') continue;
    const { machine: registered, cloud } = await prove(logged, async () => {
      if (logged.event.type !== 'machine') return refuse(logged);
      if (Object.hasOwn(logged.event.body, 'cloud')) return proveVisitor(logged, trusted, documents);
      const [document] = documentsOf(logged, ['machine.register']) as [Bytes];
      const body =
        trusted.authority === undefined
          ? readRegistration(document)
          : await documents.transaction(document, trusted.authority, 'machine.register');
      requireFact(logged, machineFact(body, toHex(parseSign1(document).keyId)));
      if (keyName(body.machine.publicKey) !== body.machine.machine)
        throw unfit('the machine is not named after its key');
      return { machine: body.machine, cloud: undefined };
    });
    if (wanted.cloud === cloud?.installation && equalBytes(wanted.registration, registrationHash(registered)))
      found = { machine: registered, index: logged.index, cloud, gaps };
  }
  if (found === undefined) throw unfit(`the licence does not name ${account.account} as it is registered`);
  return { ...found, gaps };
}

/**
 * Verifies a machine of another cloud: the administrator has recognised that cloud, whose administrator has registered
 * the machine. Without a trusted administrator, the owner's signature on the registration's hash is what counts.
 */
async function proveVisitor(
  logged: LoggedEvent,
  { authority }: Trusted,
  documents: Documents,
): Promise<{ readonly machine: Machine; readonly cloud: RecognisedParty }> {
  const names = ['machine.register', 'cloud.recognise'];
  const [document, recognition] = documentsOf(logged, names) as [Bytes, Bytes];
  const recognised =
    authority === undefined ? readRecognition(recognition) : await documents.recognition(recognition, authority);
  const cloud = {
    installation: recognised.cloud,
    name: recognised.name,
    adminKey: copyBytes(recognised.adminKey),
  };
  const body = await documents.ofCloud(cloud).transaction(document, cloud.adminKey, 'machine.register');
  requireFact(logged, visitorFact(body, recognised));
  if (keyName(body.machine.publicKey) !== body.machine.machine) throw unfit('the machine is not named after its key');
  return { machine: body.machine, cloud };
}

function readRecognition(bytes: Uint8Array): TransactionOf<'cloud.recognise'> {
  const body = readTransaction(bytes);
  if (body.type !== 'cloud.recognise') throw unfit(`it is a ${body.type}, not a cloud.recognise`);
  return body;
}

/** Rejects an event without documents: only the log attests it. */
export function refuse({ event }: LoggedEvent): never {
  throw unfit(`no document is known that could stand behind a '${event.type}' here`);
}

/** Reads a registration without a trusted signer. The relevant fields are compared with what the owner signed. */
function readRegistration(bytes: Uint8Array): TransactionOf<'machine.register'> {
  const body = readTransaction(bytes);
  if (body.type !== 'machine.register') throw unfit(`it is a ${body.type}, not a machine.register`);
  return body;
}
