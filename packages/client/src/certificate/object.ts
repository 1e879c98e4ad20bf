import { type Bytes, copyBytes, equalBytes, parse, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { LoggedEvent, VerifiedCertificate } from '@millrace/ledger';
import {
  CLOCK_SKEW_MS,
  checkRequest,
  clearedFact,
  type MachineReport,
  objectId,
  orderFact,
  type Permit,
  type PermitRequest,
  permitFact,
  readTransaction,
  reportFact,
  requireActive,
  resumeFact,
  sha256,
  type TransactionOf,
} from '@millrace/protocol';
import { z } from 'zod';
import { type Documents, documentsOf, prove, requireFact, unfit } from './documents.ts';
import { type ProvenLicence, type ProvenMachine, proveLicence, proveMachine, refuse, type Trusted } from './licence.ts';

/** Everything that an object's certificate states, each statement verified against its signer. */
export interface ProvenObject {
  readonly licence: ProvenLicence;
  readonly print: TransactionOf<'print.request'>;
  readonly number: number;
  /** Undefined until the object is permitted. */
  readonly machine: Machine | undefined;
  readonly permit: Permit | undefined;
  readonly request: PermitRequest | undefined;
  readonly reports: readonly MachineReport[];
  /** Number of streams that were resumed under a new permit. */
  readonly resumed: number;
  /** Number of alarms. Only the log attests them. */
  readonly alarms: number;
  /** Number of alarms that the owner has cleared. */
  readonly cleared: number;
}

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
  const { print, number } = await proveOrder(ordered, licence, documents);
  const chain = new ObjectChain({ certificate, licence, print, number, trusted, documents });
  for (const logged of later) await prove(logged, () => chain.take(logged));
  return chain.result();
}

/** Verifies the order, signed by the holder whom the licence names. */
function proveOrder(ordered: LoggedEvent, { terms, left, statuses }: ProvenLicence, documents: Documents) {
  return prove(ordered, async () => {
    const [document] = documentsOf(ordered, ['print.request']) as [Bytes];
    const print = await documents.transaction(document, copyBytes(terms.holder), 'print.request');
    const { number } = ordered.event.body;
    if (typeof number !== 'number' || number < 1 || number > terms.objects)
      throw unfit(`the licence allows ${terms.objects} objects`);
    if (left.some(({ index, floor }) => index < ordered.index && number <= floor))
      throw unfit('the owner had said before that this object was made');
    const before = statuses.findLast(({ index }) => index < ordered.index);
    if (before !== undefined) requireActive(before.status, toHex(terms.id));
    requireFact(ordered, orderFact(print, terms, number));
    return { print, number };
  });
}

interface ChainStart {
  readonly certificate: CertifiedObject;
  readonly licence: ProvenLicence;
  readonly print: TransactionOf<'print.request'>;
  readonly number: number;
  readonly trusted: Trusted;
  readonly documents: Documents;
}

interface Permitted {
  readonly machine: Machine;
  readonly permit: Permit;
  readonly request: PermitRequest;
}

/** Verifies the events after the order, one by one. The ledger has already checked which event may follow which. */
class ObjectChain {
  readonly #start: ChainStart;
  readonly #reports: MachineReport[] = [];
  #permitted: Permitted | undefined;
  #resumed = 0;
  #alarms = 0;
  #cleared = 0;

  constructor(start: ChainStart) {
    this.#start = start;
  }

  result(): ProvenObject {
    const { licence, print, number } = this.#start;
    const { machine, permit, request } = this.#permitted ?? {};
    const [reports, resumed, alarms, cleared] = [this.#reports, this.#resumed, this.#alarms, this.#cleared];
    return { licence, print, number, machine, permit, request, reports, resumed, alarms, cleared };
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
        return this.#clear(logged);
      default:
        return refuse(logged);
    }
  }

  async #permit(logged: LoggedEvent): Promise<void> {
    const { certificate, licence, trusted, documents, print } = this.#start;
    const [account] = certificate.machines;
    if (account === undefined) throw unfit('it names no machine');
    const { machine, index } = await proveMachine(account, licence, trusted, documents);
    if (index > logged.index) throw unfit('the machine was registered so later');
    const { permit, request, actor } = await this.#openPermit(logged, machine);
    const { terms } = licence;
    // The machine's clock and the owner's or holder's may each differ from control's, which compared them.
    const late = (time: number, end: number) => time > end + 2 * CLOCK_SKEW_MS;
    if (late(request.issued, terms.notAfter) || late(terms.notBefore, request.issued))
      throw unfit('the machine asked outside the licence’s time');
    if (late(request.issued, print.expires)) throw unfit('the machine asked when the print request had expired');
    requireFact(logged, permitFact(permit, machine, actor));
    this.#permitted = { machine, permit, request };
  }

  async #resume(logged: LoggedEvent): Promise<void> {
    const { machine, request: first } = this.#begun();
    const { permit, request, actor } = await this.#openPermit(logged, machine);
    if (!equalBytes(request.run, first.run)) throw unfit('it is of another run');
    requireFact(logged, resumeFact(permit, request, actor));
    this.#resumed += 1;
  }

  /** Verifies the object's request and permit: control answers the machine, whose request names the holder's print. */
  async #openPermit(logged: LoggedEvent, machine: Machine) {
    const { licence, trusted, documents, print, number } = this.#start;
    const names = ['permit', 'permit.request', 'permit-key.register'];
    const [document, asked, registration] = documentsOf(logged, names) as [Bytes, Bytes, Bytes];
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
    return { permit, request, actor: keyName(permitKey) };
  }

  async #report(logged: LoggedEvent): Promise<void> {
    const { licence, documents } = this.#start;
    const { machine, request } = this.#begun();
    const [document] = documentsOf(logged, ['report']) as [Bytes];
    const report = await documents.ofMachine(document, copyBytes(machine.publicKey), 'report');
    if (!equalBytes(report.run, request.run)) throw unfit('it is of another run');
    checkRequest({ ...request, serial: report.facts.serial, material: report.facts.material }, machine, licence.terms);
    requireFact(logged, reportFact(report, machine.machine, licence.core.contentMac));
    this.#reports.push(report);
  }

  #alarm(logged: LoggedEvent): void {
    documentsOf(logged, []);
    const { by } = parse(alarmSchema, logged.event.body, 'alarm');
    if (logged.event.actor !== by) throw unfit('its actor is another node');
    this.#alarms += 1;
  }

  async #clear(logged: LoggedEvent): Promise<void> {
    const { licence, documents } = this.#start;
    const [document] = documentsOf(logged, ['alarm.clear']) as [Bytes];
    const body = await documents.transaction(document, licence.owner, 'alarm.clear');
    requireFact(logged, clearedFact(body, keyName(licence.owner)));
    this.#cleared += 1;
  }

  #begun(): Permitted {
    if (this.#permitted === undefined) throw unfit('nothing was permitted before');
    return this.#permitted;
  }
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
