import { type Bytes, copyBytes, equalBytes, parse, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { LoggedEvent, VerifiedCertificate } from '@millrace/ledger';
import {
  type AmendedLicence,
  type CaseReason,
  CLOCK_SKEW_MS,
  caseFact,
  checkRequest,
  clearedFact,
  creditedFact,
  denialFact,
  type GroupMember,
  holderParty,
  type LoadedSpool,
  type MachineMembership,
  type MachineReport,
  machineAccount,
  objectId,
  orderFact,
  type Permit,
  type PermitRequest,
  permitFact,
  readMachineDocument,
  readTransaction,
  reportFact,
  requireActive,
  requireApproved,
  resumeFact,
  sha256,
  type TransactionOf,
  type VisitingSpool,
} from '@millrace/protocol';
import { z } from 'zod';
import { type Documents, documentsOf, prove, requireFact, type Signatory, type Trusted, unfit } from './documents.ts';
import {
  type ProvenLicence,
  type ProvenMachine,
  proveLicence,
  proveMachine,
  type RecognisedParty,
  refuse,
} from './licence.ts';
import { isLifeEvent, LifeChain, type ProvenLife } from './life.ts';
import { proveVisit, visitEvidence } from './visit.ts';

/** Everything that an object's certificate states, each statement verified against its signer. */
export interface ProvenObject {
  readonly licence: ProvenLicence;
  /** The licence as it was when the object was ordered. */
  readonly licensed: AmendedLicence;
  readonly print: TransactionOf<'print.request'>;
  /** Who signed the order for the holder. */
  readonly orderedBy: Signatory;
  readonly number: number;
  /** Undefined until the object is permitted. */
  readonly machine: Machine | undefined;
  /** The machine's cloud, if it is another one. */
  readonly cloud: RecognisedParty | undefined;
  /** The machine as a member of a group of the licence; undefined if the licence names the machine alone. */
  readonly member: GroupMember | undefined;
  readonly permit: Permit | undefined;
  readonly request: PermitRequest | undefined;
  /** The spool that an operator had loaded. Undefined too if the verifier named no administrator. */
  readonly spool: LoadedSpool | undefined;
  /** Gaps in the odometer of the machine that the log reports. */
  readonly gaps: number;
  readonly reports: readonly MachineReport[];
  /** Number of streams that were resumed under a new permit. */
  readonly resumed: number;
  /** Number of alarms. Only the log attests them. */
  readonly alarms: number;
  /** Number of alarms that the owner has cleared. */
  readonly cleared: number;
  /** The holder's report that the object cannot be used, and the owner's decision. */
  readonly failure: ProvenFailure | undefined;
  /** Whether the machine made exactly the bytes of the design, and the owner has not credited the object since. */
  readonly made: boolean;
  readonly life: ProvenLife;
}

export interface ReportedFailure {
  readonly reason: CaseReason;
  /** Undefined until the owner has decided. */
  readonly credit: boolean | undefined;
}

/** What became of an object: the holder's report and its decision, or a credit by the licence's policy. */
export type ProvenFailure = ReportedFailure | { readonly byPolicy: true };

type Machine = ProvenMachine['machine'];

/** An object's events and the accounts that they name, as in the log. */
export type CertifiedObject = Pick<VerifiedCertificate, 'events' | 'licences' | 'machines'>;

/** The signer of an alarm is unknown: nodes report alarms by sealed mail. An alarm can only count against an object. */
const alarmSchema = z.strictObject({
  by: z.enum(['keys', 'segments']),
  acked: z.number().int().nonnegative(),
  permit: z.string(),
  code: z.literal('E_ALARM'),
});

/**
 * Verifies owner → licence → holder → print → machine → permit → reports from the signed documents.
 * @throws {MillraceError} E_EVIDENCE for a document that is missing, foreign, used twice or inconsistent
 */
export async function proveObject(
  certificate: CertifiedObject,
  trusted: Trusted,
  documents: Documents,
): Promise<ProvenObject> {
  const [ordered, ...later] = certificate.events;
  const [account, ...others] = certificate.licences;
  if (ordered === undefined || account === undefined || others.length > 0 || certificate.machines.length > 1)
    throw unfit('an object has one licence and one machine');
  const licence = await proveLicence(account, trusted, documents);
  const order = await proveOrder(ordered, licence, trusted, documents);
  const chain = new ObjectChain({ certificate, licence, ...order, trusted, documents });
  for (const logged of later) await prove(logged, () => chain.take(logged));
  return chain.result();
}

/** Verifies the order, signed for the holder whom the licence names. */
function proveOrder(
  ordered: LoggedEvent,
  { at, credits, left, statuses }: ProvenLicence,
  trusted: Trusted,
  documents: Documents,
) {
  return prove(ordered, async () => {
    const licensed = at(ordered.index);
    const { terms } = licensed;
    requireApproved(licensed);
    const [transaction, credential] = documentsOf(ordered, ['print.request', 'signer’s credential']) as [Bytes, Bytes];
    const wanted = { party: holderParty(terms.holder), role: 'operator', type: 'print.request' } as const;
    const attested = { transaction, credential };
    const { body: print, signatory: orderedBy } = await documents.actedFor(wanted, attested, trusted);
    const { number } = ordered.event.body;
    const credited = credits.filter(({ index }) => index < ordered.index).map(({ object }) => object);
    const allowed = terms.objects + credited.length;
    if (typeof number !== 'number' || number < 1 || number > allowed)
      throw unfit(`the licence allows ${allowed} objects`);
    if (left.some(({ index, floor }) => index < ordered.index && number <= floor))
      throw unfit('the owner had said before that this object was made');
    const before = statuses.findLast(({ index }) => index < ordered.index);
    if (before !== undefined) requireActive(before.status, toHex(terms.id));
    const replaced = inOrder(credited, ordered, number - terms.objects);
    requireFact(ordered, orderFact(print, terms, number, keyName(orderedBy.publicKey), replaced));
    return { print, orderedBy, number, licensed };
  });
}

/**
 * The credited objects, with the one that the order names in its place: the order of the credits is control's.
 * @param place place of the object among those beyond the grant, from 1
 */
function inOrder(credited: readonly string[], { event }: LoggedEvent, place: number): readonly string[] {
  if (place < 1) return [];
  const named = credited.find((object) => object === event.body.replaces);
  if (named === undefined) throw unfit('it is made in place of no object that the owner had credited');
  return [...new Array<string>(place - 1).fill(''), named];
}

interface ChainStart {
  readonly certificate: CertifiedObject;
  readonly licence: ProvenLicence;
  readonly licensed: AmendedLicence;
  readonly print: TransactionOf<'print.request'>;
  readonly orderedBy: Signatory;
  readonly number: number;
  readonly trusted: Trusted;
  readonly documents: Documents;
}

interface Permitted {
  readonly machine: Machine;
  readonly cloud: RecognisedParty | undefined;
  readonly member: GroupMember | undefined;
  readonly permit: Permit;
  readonly request: PermitRequest;
  readonly spool: LoadedSpool | undefined;
  readonly visiting: VisitingSpool | undefined;
  readonly gaps: number;
}

/** Verifies the events after the order, one by one. The ledger has already checked which event may follow which. */
class ObjectChain {
  readonly #start: ChainStart;
  readonly #reports: MachineReport[] = [];
  #permitted: Permitted | undefined;
  #resumed = 0;
  #alarms = 0;
  #cleared = 0;
  #failure: ProvenFailure | undefined;
  #made = false;
  readonly #life: LifeChain;

  constructor(start: ChainStart) {
    this.#start = start;
    const { licensed, trusted, documents } = start;
    this.#life = new LifeChain(holderParty(licensed.terms.holder), trusted, documents);
  }

  result(): ProvenObject {
    const { licence, print, orderedBy, number } = this.#start;
    const { machine, cloud, member, permit, request, spool, gaps = 0 } = this.#permitted ?? {};
    const [reports, resumed, alarms, cleared] = [this.#reports, this.#resumed, this.#alarms, this.#cleared];
    const made = { machine, cloud, member, permit, request, spool, gaps };
    const outcome = { reports, resumed, alarms, cleared, failure: this.#failure, made: this.#made };
    const life = this.#life.result();
    return { licence, licensed: this.#start.licensed, print, orderedBy, number, ...made, ...outcome, life };
  }

  async take(logged: LoggedEvent): Promise<void> {
    switch (logged.event.type) {
      case 'permitted':
        return this.#permit(logged);
      case 'machine':
        return this.#resume(logged);
      case 'started':
      case 'progressed':
      case 'completed':
      case 'failed':
        return this.#report(logged);
      case 'alarmed':
        return this.#alarm(logged);
      case 'inspected':
        return isLifeEvent(logged) ? this.#live(logged) : this.#inspect(logged);
      case 'transferred':
      case 'retired':
        return this.#live(logged);
      case 'credited':
        return this.#credit(logged);
      default:
        return refuse(logged);
    }
  }

  async #permit(logged: LoggedEvent): Promise<void> {
    const { certificate, licence, trusted, documents, print } = this.#start;
    const [account] = certificate.machines;
    if (account === undefined) throw unfit('it names no machine');
    const licensed = licence.at(logged.index).terms;
    const entry = licensed.machines.find((named) => machineAccount(named.machine) === account.account);
    // A machine of another cloud is no member of a group here.
    const assignment = entry?.cloud === undefined ? assignmentOf(logged) : undefined;
    const wanted = entry ?? assignment;
    if (wanted === undefined) throw unfit('the licence did not name the machine when the object was permitted');
    const { registration } = wanted;
    const named = { registration, cloud: entry?.cloud };
    const { machine, index, cloud, gaps } = await proveMachine(account, named, trusted, documents);
    if (index > logged.index) throw unfit('the machine was registered so later');
    const { permit, request, actor, shown } = await this.#openPermit(logged, machine, (asked) => [
      ...(cloud ? visitEvidence(asked, licence.terms) : []),
      ...(assignment ? groupDocuments : []),
    ]);
    const membership = assignment && membershipIn(shown);
    const member = await documents.licensed(machine, licensed, { cloud: cloud?.installation, membership }, trusted);
    const { terms } = licence;
    const holder = copyBytes(this.#start.orderedBy.publicKey);
    const visiting = cloud && (await proveVisit({ cloud, permit, request, terms, holder, shown }, documents));
    const spool = await this.#material(machine, request, { begins: true, visiting });
    // The machine's clock and the owner's or holder's may each differ from control's, which compared them.
    const late = (time: number, end: number) => time > end + 2 * CLOCK_SKEW_MS;
    if (late(request.issued, terms.notAfter) || late(terms.notBefore, request.issued))
      throw unfit('the machine asked outside the licence’s time');
    if (late(request.issued, print.expires)) throw unfit('the machine asked when the print request had expired');
    requireFact(logged, permitFact(permit, machine, actor));
    this.#permitted = { machine, cloud, member, permit, request, spool, visiting, gaps };
  }

  /** The spool that the machine states. Only the administrator's key proves it. */
  async #material(
    machine: Machine,
    request: PermitRequest,
    options: { readonly begins: boolean; readonly visiting: VisitingSpool | undefined },
  ): Promise<LoadedSpool | undefined> {
    const { licence, trusted, documents } = this.#start;
    const { authority } = trusted;
    return authority && documents.material(request, machine, licence.terms, { authority, ...options });
  }

  async #resume(logged: LoggedEvent): Promise<void> {
    const { machine, request: first, visiting } = this.#begun();
    const { permit, request, actor } = await this.#openPermit(logged, machine);
    await this.#material(machine, request, { begins: false, visiting });
    if (!equalBytes(request.run, first.run)) throw unfit('it is of another run');
    requireFact(logged, resumeFact(permit, request, actor));
    this.#resumed += 1;
  }

  /** Verifies the object's request and permit: control answers the machine, whose request names the holder's print. */
  async #openPermit(
    logged: LoggedEvent,
    machine: Machine,
    extra: (request: PermitRequest) => readonly string[] = () => [],
  ) {
    const { licence, trusted, documents, print, number } = this.#start;
    const stated = readMachineDocument(logged.event.evidence?.[1] ?? new Uint8Array());
    if (stated.type !== 'permit.request') throw unfit('no request stands behind it');
    const names = ['permit', 'permit.request', 'permit-key.register', ...extra(stated)];
    const [document, asked, registration, ...shown] = documentsOf(logged, names) as [Bytes, Bytes, Bytes, ...Bytes[]];
    const request = await documents.ofMachine(asked, copyBytes(machine.publicKey), 'permit.request');
    checkRequest(request, machine, licence.terms);
    const permitKey = await permitKeyOf(registration, trusted, documents);
    const permit = await documents.permit(document, permitKey);
    const { terms } = licence;
    const fits =
      permit.licence === print.licence &&
      permit.number === number &&
      permit.object === objectId(print.licence, number) &&
      permit.design === terms.design &&
      permit.machine === machine.machine &&
      permit.machine === print.machine &&
      permit.print === request.print &&
      equalBytes(sha256(asked), permit.request);
    if (!fits || toHex(print.id) !== permit.print) throw unfit('permit, request and print are not of one object');
    return { permit, request, actor: keyName(permitKey), shown };
  }

  async #report(logged: LoggedEvent): Promise<void> {
    const { licence, documents } = this.#start;
    const { machine, request, spool } = this.#begun();
    const [document] = documentsOf(logged, ['report']) as [Bytes];
    const report = await documents.ofMachine(document, copyBytes(machine.publicKey), 'report');
    if (!equalBytes(report.run, request.run)) throw unfit('it is of another run');
    checkRequest({ ...request, serial: report.facts.serial, material: report.facts.material }, machine, licence.terms);
    if (spool !== undefined && report.facts.material !== spool.name) throw unfit('it is of another material');
    requireFact(logged, reportFact(report, machine.machine, licence.core.contentMac));
    this.#reports.push(report);
    if (logged.event.type === 'completed') this.#made = true;
  }

  #live(logged: LoggedEvent): Promise<void> {
    if (!this.#made) throw unfit('only a part that was made has a life after it');
    return this.#life.take(logged);
  }

  #alarm(logged: LoggedEvent): void {
    documentsOf(logged, []);
    const { by } = parse(alarmSchema, logged.event.body, 'alarm');
    if (logged.event.actor !== by) throw unfit('its actor is another node');
    this.#alarms += 1;
  }

  /** The owner cleared an alarm or denied a credit, or the holder reported a failure. */
  async #inspect(logged: LoggedEvent): Promise<void> {
    const { licence, licensed, trusted, documents } = this.#start;
    const names = ['a document of owner or holder', 'signer’s credential'];
    const [transaction, credential] = documentsOf(logged, names) as [Bytes, Bytes];
    const attested = { transaction, credential };
    const { type } = readTransaction(transaction);
    const byOwner = { party: licence.owner, role: 'designer' } as const;
    if (type === 'case.report') {
      const wanted = { party: holderParty(licensed.terms.holder), role: 'operator', type } as const;
      const { body, signatory } = await documents.actedFor(wanted, attested, trusted);
      requireFact(logged, caseFact(body, keyName(signatory.publicKey)));
      this.#failure = { reason: body.reason, credit: undefined };
    } else if (type === 'case.decide') {
      const { body, signatory } = await documents.actedFor({ ...byOwner, type }, attested, trusted);
      if (body.credit) throw unfit('it is no denial of a credit');
      requireFact(logged, denialFact(body, keyName(signatory.publicKey)));
      this.#failure = { ...this.#reported(), credit: false };
    } else {
      const { body, signatory } = await documents.actedFor({ ...byOwner, type: 'alarm.clear' }, attested, trusted);
      requireFact(logged, clearedFact(body, keyName(signatory.publicKey)));
      this.#cleared += 1;
    }
  }

  /** The licence's account holds the owner's decision. */
  #credit(logged: LoggedEvent): void {
    const { licence } = this.#start;
    documentsOf(logged, []);
    const { account, actor } = logged.event;
    const credit = licence.credits.find(({ object }) => object === account);
    if (credit === undefined) throw unfit('its owner has not credited it');
    requireFact(logged, creditedFact({ object: account }, actor));
    this.#failure = credit.byPolicy ? { byPolicy: true } : { ...this.#reported(), credit: true };
    this.#made = false;
  }

  /** The case that the holder has opened. */
  #reported(): ReportedFailure {
    if (this.#failure === undefined || 'byPolicy' in this.#failure) throw unfit('its holder has reported no failure');
    return this.#failure;
  }

  #begun(): Permitted {
    if (this.#permitted === undefined) throw unfit('nothing was permitted before');
    return this.#permitted;
  }
}

/** The documents of a membership, after the others behind the permit. */
const groupDocuments = ['group.set', 'signer’s credential', 'machine.assign'];

/** The assignment behind a permit, if it shows that the machine is a member of a group. Not verified yet. */
function assignmentOf({ event }: LoggedEvent): TransactionOf<'machine.assign'> | undefined {
  const last = event.evidence?.slice(3).at(-1);
  const body = last && readTransaction(last);
  return body?.type === 'machine.assign' ? body : undefined;
}

function membershipIn(shown: readonly Bytes[]): MachineMembership {
  const [transaction, credential, assignment] = shown.slice(-groupDocuments.length) as [Bytes, Bytes, Bytes];
  return { statement: { transaction, credential }, assignment };
}

/**
 * The permit key. The administrator attests it if the verifier knows the administrator; otherwise only the log does,
 * and the verdict says so.
 */
async function permitKeyOf(registration: Bytes, { authority }: Trusted, documents: Documents): Promise<Bytes> {
  const body =
    authority === undefined ? readTransaction(registration) : await documents.permitKey(registration, authority);
  if (body.type !== 'permit-key.register') throw unfit('it is not the registration of a permit key');
  return copyBytes(body.publicKey);
}
