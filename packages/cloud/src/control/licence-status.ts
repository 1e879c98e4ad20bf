import { MillraceError, toHex } from '@millrace/base';
import {
  isLicenceStatement,
  type LicenceStatement,
  readTransaction,
  requireActive,
  statusAfter,
  statusFact,
} from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import { announcePermit } from './announce-permit.ts';
import type { ControlContext } from './context.ts';
import { type LicenceRecord, statusOf } from './licence-records.ts';
import { sendToBoth } from './mailbox.ts';
import { refuseQueued } from './queued-prints.ts';
import { signerOf } from './records.ts';
import type { Submitted } from './submitted.ts';

/**
 * Applies the owner's statement that suspends, reinstates or revokes a licence. Appends it to the ledger, mails it to
 * both proactive nodes, which verify it themselves, and updates the queue. No permit overlaps: earlier permits precede
 * the statement in the ledger, and later permits comply with it. The same statement again gets the same answer.
 * @throws {MillraceError} E_FORBIDDEN, E_LICENCE_REVOKED, E_CONFLICT (a newer statement is in force), E_STATE (the
 * statement changes nothing)
 */
export function setLicenceStatus(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<LicenceStatement>,
): Promise<{ licence: string }> {
  const { records, licensing } = context;
  return licensing.write(async () => {
    const record = await records.licences.require(body.licence);
    authorize(actor, 'licence.setStatus', record);
    const id = toHex(body.id);
    if (record.statement?.id !== id) {
      await announceStatement(context, body.licence); // completes an earlier, interrupted statement
      requireChange(record, body);
      for await (const [print] of records.prints.list({ index: 'unannounced', group: body.licence }))
        await announcePermit(context, print);
      await records.licences.update(body.licence, (current) => ({
        ...current,
        status: statusAfter(statusOf(current), body),
        statement: { id, transaction: bytes, credential, announced: false },
      }));
    }
    await announceStatement(context, body.licence);
    return { licence: body.licence };
  });
}

function requireChange(record: LicenceRecord, statement: LicenceStatement): void {
  const { licence } = record;
  const status = statusOf(record);
  if (status.revoked !== undefined && statement.type !== 'licence.revoke')
    throw new MillraceError('E_LICENCE_REVOKED', 'the licence is revoked: grant another one', { data: { licence } });
  const newest = newestNumber(record);
  if (statement.number <= newest)
    throw new MillraceError('E_CONFLICT', `the owner has signed statement ${newest} on the licence already`, {
      data: { licence, newest },
    });
  const after = statusAfter(status, statement);
  if (after.suspended === status.suspended && after.revoked === status.revoked)
    throw new MillraceError('E_STATE', `the licence is ${statusName(record)} already`, { data: { licence } });
}

function newestNumber({ statement }: LicenceRecord): number {
  return statement === undefined ? 0 : readStatement(statement.transaction).number;
}

function readStatement(bytes: Uint8Array): LicenceStatement {
  const body = readTransaction(bytes);
  if (!isLicenceStatement(body)) throw new MillraceError('E_STORE', 'the licence record holds no statement');
  return body;
}

/** Name of the licence's status, for display. */
export function statusName(record: LicenceRecord): 'active' | 'suspended' | 'revoked' {
  const { suspended, revoked } = statusOf(record);
  if (revoked !== undefined) return 'revoked';
  return suspended ? 'suspended' : 'active';
}

/** Appends the newest statement on a licence to the ledger, mails it and updates the queue. Safe to repeat. */
export async function announceStatement(context: ControlContext, licence: string): Promise<void> {
  const { records, ledger, mailbox } = context;
  const record = await records.licences.require(licence);
  const { statement } = record;
  if (statement === undefined || statement.announced) return;
  const { id, transaction, credential } = statement;
  const fact = statusFact(readStatement(transaction), signerOf(transaction));
  await ledger.append({ ...fact, evidence: [transaction, credential], eventId: `status/${id}` });
  const of = { licence: record.transaction, licenceSigner: record.credential };
  const message = { type: 'licence.status' as const, ...of, transaction, credential };
  await sendToBoth(mailbox, record.design, `status/${id}`, message);
  // Otherwise they would start by themselves when the licence is reinstated.
  const refusal = refusalOf(record);
  if (refusal !== undefined)
    await refuseQueued(context, 'licence', licence, { code: refusal.code, reason: refusal.message });
  await records.licences.update(licence, (current) =>
    current.statement?.id === id ? { ...current, statement: { ...statement, announced: true } } : current,
  );
}

/** Why no print of the licence may begin; undefined if it is active. */
function refusalOf(record: LicenceRecord): MillraceError | undefined {
  try {
    requireActive(statusOf(record), record.licence);
    return undefined;
  } catch (error) {
    if (error instanceof MillraceError) return error;
    throw error;
  }
}
