import { equalBytes, MillraceError, toHex } from '@millrace/base';
import {
  type Amendment,
  amendmentFact,
  documentName,
  holderParty,
  isAmendment,
  MAX_AMENDMENTS,
  partyName,
  readTransaction,
  requireUnrevoked,
  type TransactionOf,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import { amended, isByDesigner } from './amended.ts';
import { announcePermit } from './announce-permit.ts';
import type { ControlContext } from './context.ts';
import { requireKept } from './designs.ts';
import { amendmentsOf, approverIn, type LicenceRecord, statusOf } from './licence-records.ts';
import { requireMachines } from './licensed-machines.ts';
import { requireSizes } from './limits.ts';
import { sendToBoth } from './mailbox.ts';
import { refuseQueued } from './queued-prints.ts';
import { signerOf } from './records.ts';
import { replay } from './replay.ts';
import type { Submitted } from './submitted.ts';

/**
 * Applies an approval, extension or transfer of a licence. Appends it to the ledger; after a transfer, both proactive
 * nodes get it by mail and the former holder's queued prints are refused. No permit overlaps, as for a statement
 * (licence-status.ts). The same document again gets the same answer.
 * @throws {MillraceError} E_FORBIDDEN, E_LICENCE_INVALID, E_LICENCE_REVOKED, E_STATE (it changes nothing), E_QUOTA, and
 *   for an extension as for a grant
 */
export function amend(context: ControlContext, submitted: Submitted<Amendment>): Promise<{ licence: string }> {
  const { body, actor, credential, bytes } = submitted;
  const { records, licensing } = context;
  return licensing.write(async () => {
    const { licence } = body;
    const record = await records.licences.require(licence);
    const id = toHex(body.id);
    const known = record.amendments?.find((each) => each.id === id);
    if (known !== undefined && !equalBytes(known.transaction, bytes)) throw replay(id);
    // The former holder may not know that its transfer was carried out before control was killed.
    if (known === undefined) {
      authorize(actor, body.type, { ...record, approver: approverIn(record, actor.name) });
      await announceAmendments(context, licence); // completes an earlier, interrupted amendment
      await requireApplicable(context, record, submitted);
      const byDesigner = body.type === 'licence.approve' && (await isByDesigner(context, record.design, credential));
      const entry = { id, transaction: bytes, credential, announced: false, ...(byDesigner && { byDesigner }) };
      const after = { ...record, amendments: [...(record.amendments ?? []), entry] };
      const { terms } = await amended(context, after);
      requireSizes([eventOf(entry)], []);
      for await (const [print] of records.prints.list({ index: 'unannounced', group: licence }))
        await announcePermit(context, print);
      await records.licences.update(licence, (current) => ({
        ...current,
        holder: partyName(holderParty(terms.holder)),
        amendments: after.amendments,
      }));
    }
    await announceAmendments(context, licence);
    return { licence };
  });
}

async function requireApplicable(
  context: ControlContext,
  record: LicenceRecord,
  { body, actor, bytes }: Submitted<Amendment>,
): Promise<void> {
  const { records } = context;
  const { licence, amendments = [] } = record;
  const design = await records.designs.require(record.design);
  requireKept(design);
  if (statusOf(record).revoked !== undefined)
    throw new MillraceError('E_LICENCE_REVOKED', 'the licence is revoked: grant another one', { data: { licence } });
  if (amendments.length >= MAX_AMENDMENTS)
    throw new MillraceError('E_QUOTA', `a licence has at most ${MAX_AMENDMENTS} amendments`, {
      data: { licence, limit: MAX_AMENDMENTS },
    });
  switch (body.type) {
    case 'licence.approve':
      return requireNewApproval(record, body, actor.name);
    case 'licence.extend':
      return requireMachines(context, design, body);
    case 'licence.transfer':
      return requireRecipient(context, record, body, bytes);
  }
}

/** @throws {MillraceError} E_LICENCE_INVALID (of no document of the licence), E_STATE (approved already) */
function requireNewApproval(
  record: LicenceRecord,
  { document }: TransactionOf<'licence.approve'>,
  signer: string,
): void {
  const documents = [record.transaction, ...amendmentsOf(record).map(({ transaction }) => transaction)];
  if (!documents.some((bytes) => equalBytes(documentName(bytes), document)))
    throw new MillraceError('E_LICENCE_INVALID', 'the approval is of no document of this licence');
  const same = (record.amendments ?? []).some(({ transaction }) => {
    const known = readTransaction(transaction);
    return signerOf(transaction) === signer && known.type === 'licence.approve' && equalBytes(known.document, document);
  });
  if (same)
    throw new MillraceError('E_STATE', 'this key has approved it already', { data: { licence: record.licence } });
}

/** @throws {MillraceError} E_NOT_FOUND, E_REVOKED, E_STATE (the same holder, or a transfer waits for its approval) */
async function requireRecipient(
  context: ControlContext,
  record: LicenceRecord,
  { to }: TransactionOf<'licence.transfer'>,
  bytes: Uint8Array,
): Promise<void> {
  const { records, directory } = context;
  const { licence, holder } = record;
  const name = partyName(holderParty(to));
  const known = typeof to === 'string' ? await records.organisations.get(to) : await records.users.get(name);
  if (known === undefined) throw new MillraceError('E_NOT_FOUND', 'the new holder is not registered');
  requireUnrevoked(directory, name);
  if (name === holder) throw new MillraceError('E_STATE', 'this user holds the licence already');
  const { pending } = await amended(context, record);
  if (pending.some((waiting) => readTransaction(waiting).type === 'licence.transfer' && !equalBytes(waiting, bytes)))
    throw new MillraceError('E_STATE', 'another transfer of the licence waits for the owner’s approval', {
      data: { licence },
    });
}

type Entry = NonNullable<LicenceRecord['amendments']>[number];

function eventOf({ id, transaction, credential }: Entry) {
  const body = readTransaction(transaction);
  if (!isAmendment(body)) throw new MillraceError('E_STORE', 'the licence record holds no amendment');
  return {
    ...amendmentFact(body, signerOf(transaction)),
    evidence: [transaction, credential],
    eventId: `amendment/${id}`,
  };
}

/** Appends new amendments to the ledger, mails transfers, refuses queued prints of former holders. Safe to repeat. */
export async function announceAmendments(context: ControlContext, licence: string): Promise<void> {
  const { records, ledger, mailbox } = context;
  const record = await records.licences.require(licence);
  for (const entry of record.amendments ?? []) {
    if (entry.announced) continue;
    await ledger.append(eventOf(entry));
    const { transfers } = await amended(context, record);
    if (transfers.length > 0) {
      const amendments = amendmentsOf(record);
      const of = { licence: record.transaction, licenceSigner: record.credential };
      const message = { type: 'licence.amend' as const, ...of, amendments };
      await sendToBoth(mailbox, record.design, `amend/${entry.id}`, message);
      // Prints of former holders can no longer begin.
      const refusal = { code: 'E_LICENCE_INVALID', reason: 'the licence was transferred to another holder' };
      await refuseQueued(context, 'licence', licence, refusal, ({ holder }) => holder !== record.holder);
    }
    await records.licences.update(licence, ({ amendments = [], ...current }) => ({
      ...current,
      amendments: amendments.map((known) => (known.id === entry.id ? { ...known, announced: true } : known)),
    }));
  }
}
