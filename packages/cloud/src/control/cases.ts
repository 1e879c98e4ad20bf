import { type Bytes, copyBytes, equalBytes, MillraceError, toBase64 } from '@millrace/base';
import {
  caseFact,
  creditedFact,
  creditFact,
  denialFact,
  earlyFailureFact,
  type LedgerFact,
  licenceOf,
  MAX_CREDITS,
  MAX_EVIDENCE_BYTES,
  readTransaction,
  sha256,
  type TransactionOf,
  verifyEarlyFailure,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { CaseRecord } from './case-records.ts';
import type { ControlContext } from './context.ts';
import { isIncluded, mayRepeat, readLicence } from './licence-records.ts';
import { withPart } from './life.ts';
import { lifeOf } from './life-records.ts';
import { sendToBoth } from './mailbox.ts';
import { printOf } from './object-prints.ts';
import { ASK_AGAIN, refuseQueued } from './queued-prints.ts';
import { signerOf } from './records.ts';
import type { Submitted } from './submitted.ts';

/**
 * Opens the case of an object that cannot be used, by the signed report of its holder. An object has one case.
 * @param evidence what the report commits to, sealed to the owner
 * @throws {MillraceError} E_FORBIDDEN, E_NOT_FOUND, E_STATE (the object can still be completed), E_CONFLICT (it has a
 * case), E_INPUT (not the evidence that was signed), E_TOO_LARGE
 */
export async function reportCase(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'case.report'>>,
  evidence: Bytes | undefined,
): Promise<{ object: string }> {
  const { records, clock } = context;
  const { object, reason } = body;
  const print = await printOf(context, object);
  authorize(actor, 'case.report', print);
  if (print.state !== 'failed' && print.state !== 'completed')
    throw new MillraceError('E_STATE', `object ${object} is ${print.state}: only a made or failed one has a case`, {
      data: { object, state: print.state },
    });
  if (evidence !== undefined && evidence.length > MAX_EVIDENCE_BYTES)
    throw new MillraceError('E_TOO_LARGE', `the evidence has more than ${MAX_EVIDENCE_BYTES} bytes`);
  const same = evidence === undefined ? undefined : sha256(evidence);
  if (body.evidence === undefined ? same !== undefined : !(same && equalBytes(same, body.evidence)))
    throw new MillraceError('E_INPUT', 'case.report needs the attachment evidence that was signed, and no other');
  // No transfer of the part overlaps.
  return withPart(context, object, async (current) => {
    const { partOwner, retired } = lifeOf(current);
    if (retired) throw new MillraceError('E_STATE', `object ${object} is retired`, { data: { object } });
    if (partOwner !== print.holder)
      throw new MillraceError('E_STATE', `object ${object} belongs to another party since`, { data: { object } });
    // The evidence first, so that a case that can be found always has it. An orphan is replaced by the next report.
    if (evidence !== undefined && (await records.cases.get(object)) === undefined)
      await records.evidence.put(object, { sealed: evidence });
    const { print: id, licence, design, owner, holder } = print;
    const created = await records.cases.create(object, {
      ...{ object, print: id, licence, design, owner, holder, reason },
      created: clock.now(),
      state: 'open',
      evidence: body.evidence,
      report: { transaction: bytes, credential, announced: false },
    });
    if (!created) throw new MillraceError('E_CONFLICT', `object ${object} has a case already`, { data: { object } });
    await announceCase(context, object);
  });
}

/**
 * Decides a case by the owner's signature. A credit makes one more object of the licence possible. It is in the ledger
 * and in the mail to both proactive nodes, which verify it themselves, before that object is permitted.
 * @throws {MillraceError} E_FORBIDDEN, E_NOT_FOUND (no case), E_STATE (decided already, or signed before
 * the owner stated how many objects are left), E_INPUT (another report),
 * E_QUOTA
 */
export function decideCase(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'case.decide'>>,
): Promise<{ object: string }> {
  const { records } = context;
  const { object, credit } = body;
  // One decision at a time for each licence. A claim of its next object waits, or sees the credit.
  return context.mutexes.run(`licence/${licenceOf(object)}`, async () => {
    const known = await records.cases.require(object);
    authorize(actor, 'case.decide', known);
    if (!equalBytes(body.report, sha256(copyBytes(known.report.transaction))))
      throw new MillraceError('E_INPUT', 'the decision is on another report than that of the case');
    const licence = await records.licences.require(known.licence);
    if (credit && isIncluded(licence, body))
      throw new MillraceError(
        'E_STATE',
        'the licence’s owner has stated since how many objects are left: sign the credit again',
        { data: { object } },
      );
    if (credit && licence.credits.length >= MAX_CREDITS)
      throw new MillraceError('E_QUOTA', `a licence has at most ${MAX_CREDITS} credits: grant another licence`);
    await records.cases.update(object, (current) => {
      if (current.state !== 'open')
        throw new MillraceError('E_STATE', `the case is decided: ${current.state}`, { data: { object } });
      const decision = { transaction: bytes, credential, announced: false };
      return { ...current, state: credit ? 'credited' : 'denied', decision };
    });
    await announceCase(context, object);
    return { object };
  });
}

/** Writes the report and the decision of a case to the ledger, and mails a credit. Safe to repeat. */
export async function announceCase(context: ControlContext, object: string): Promise<void> {
  const { records, ledger } = context;
  const { report, decision, byPolicy } = await records.cases.require(object);
  if (byPolicy) {
    if (report.announced) return;
    await announceCredit(context, object, report, await failureFact(context, object, report));
    await records.cases.update(object, (now) => ({ ...now, report: { ...now.report, announced: true } }));
    return;
  }
  if (!report.announced) {
    const body = readAs(report.transaction, 'case.report');
    const evidence = [report.transaction, report.credential];
    await ledger.append({ ...caseFact(body, signerOf(report.transaction)), evidence, eventId: `case/${object}` });
    await records.cases.update(object, (now) => ({ ...now, report: { ...now.report, announced: true } }));
  }
  if (decision === undefined || decision.announced) return;
  const { transaction, credential } = decision;
  const body = readAs(transaction, 'case.decide');
  if (body.credit) await announceCredit(context, object, decision, creditFact(body, signerOf(transaction)));
  else {
    const evidence = [transaction, credential];
    await ledger.append({ ...denialFact(body, signerOf(transaction)), evidence, eventId: `decided/${object}` });
  }
  await records.cases.update(object, (now) => ({ ...now, decision: { ...decision, announced: true } }));
}

type Documents = Pick<CaseRecord['report'], 'transaction' | 'credential'>;

/** What the licence's account shows of a credit by policy. */
async function failureFact({ records, directory }: ControlContext, object: string, report: Documents) {
  const terms = readLicence(await records.licences.require(licenceOf(object)));
  return earlyFailureFact(await verifyEarlyFailure(report, terms, directory));
}

async function announceCredit(
  context: ControlContext,
  object: string,
  { transaction, credential }: Documents,
  fact: LedgerFact,
): Promise<void> {
  const { records, ledger } = context;
  await ledger.appendMany([
    { ...fact, evidence: [transaction, credential], eventId: `credit/${object}` },
    { ...creditedFact({ object }, fact.actor), eventId: `decided/${object}` },
  ]);
  await mailCredit(context, object, `credit/${object}`);
  const licence = licenceOf(object);
  if (mayRepeat(await records.licences.require(licence), object))
    await refuseQueued(context, 'licence', licence, { code: 'E_LICENCE_SUSPENDED', reason: ASK_AGAIN });
  // Last, because from now on the next object can be permitted.
  await records.licences.update(licence, (current) => {
    if (current.credits.includes(object)) return current;
    const suspended = mayRepeat(current, object) ? current.restored?.restore : current.suspended;
    return { ...current, credits: [...current.credits, object], suspended };
  });
}

/** Mails the owner's credit of an object to both proactive nodes, which verify it themselves. */
export async function mailCredit(context: ControlContext, object: string, id: string): Promise<void> {
  const { records, mailbox } = context;
  const { transaction: licence, credential: licenceSigner, design } = await records.licences.require(licenceOf(object));
  const [credit] = await creditDocuments(context, [object]);
  if (credit === undefined) return;
  const message = { type: 'case.credit' as const, licence, licenceSigner, ...credit };
  await sendToBoth(mailbox, design, id, message);
}

function readAs<T extends 'case.report' | 'case.decide'>(bytes: Uint8Array, type: T): TransactionOf<T> {
  const body = readTransaction(bytes);
  if (body.type !== type) throw new MillraceError('E_STORE', `the case record holds no ${type}`);
  return body as TransactionOf<T>;
}

/**
 * The owner's decisions, and the reports that the licence's policy covers, behind the objects that a licence has beyond
 * its grant, in the order of these objects.
 */
export function creditDocuments({ records }: ControlContext, credits: readonly string[]) {
  return Promise.all(
    credits.map(async (object) => {
      const { report, decision, byPolicy } = await records.cases.require(object);
      const credit = byPolicy ? report : decision;
      if (credit === undefined) throw new MillraceError('E_STORE', `the case of ${object} holds no decision`);
      const { transaction, credential } = credit;
      return { transaction, credential };
    }),
  );
}

/** A case, as its parties see it. */
export function caseView({ object, print, licence, design, reason, created, state, ...record }: CaseRecord) {
  const decided = record.decision && readAs(record.decision.transaction, 'case.decide');
  return {
    ...{ object, print, licence, design, reason, created, state },
    evidence: record.evidence !== undefined,
    reported: signerOf(record.report.transaction),
    report: toBase64(record.report.transaction),
    credential: toBase64(record.report.credential),
    byPolicy: record.byPolicy,
    decided: record.decision && signerOf(record.decision.transaction),
    note: decided?.note,
  };
}
