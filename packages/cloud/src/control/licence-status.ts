import { MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  isLicenceStatement,
  type LicenceStatement,
  readTransaction,
  requireActive,
  type Signed,
  statusAfter,
  statusFact,
} from '@millrace/protocol';
import { authorize, userActor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { announcePermit } from './permits.ts';
import { type LicenceRecord, statusOf } from './records.ts';

/**
 * Applies the owner's statement that suspends, reinstates or revokes a licence. Appends it to the ledger, mails it to
 * both proactive nodes, which verify it themselves, and updates the queue. No permit overlaps: earlier permits precede
 * the statement in the ledger, and later permits comply with it. The same statement again gets the same answer.
 * @throws {MillraceError} E_FORBIDDEN, E_LICENCE_REVOKED, E_CONFLICT (a newer statement is in force), E_STATE (the
 * statement changes nothing)
 */
export function setLicenceStatus(
  context: ControlContext,
  { body, signer, bytes }: Signed<LicenceStatement>,
): Promise<{ licence: string }> {
  const { records, directory, licensing } = context;
  return licensing.write(async () => {
    const record = await records.licences.require(body.licence);
    authorize(userActor(directory, keyName(signer)), 'licence.setStatus', record);
    const id = toHex(body.id);
    if (record.statement?.id !== id) {
      await announceStatement(context, body.licence); // completes an earlier, interrupted statement
      requireChange(record, body);
      for await (const [print] of records.prints.list({ index: 'unannounced', group: body.licence }))
        await announcePermit(context, print);
      await records.licences.update(body.licence, (current) => ({
        ...current,
        status: statusAfter(statusOf(current), body),
        statement: { id, transaction: bytes, announced: false },
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
  const { id, transaction } = statement;
  const fact = statusFact(readStatement(transaction), record.owner);
  await ledger.append({ ...fact, evidence: [transaction], eventId: `status/${id}` });
  const message = { type: 'licence.status' as const, licence: record.transaction, transaction };
  await mailbox.send({ role: 'segments', partition: record.design }, `status/${id}`, message);
  await mailbox.send({ role: 'keys', partition: record.design }, `status/${id}`, message);
  await refuseQueued(context, record);
  await records.licences.update(licence, (current) =>
    current.statement?.id === id ? { ...current, statement: { ...statement, announced: true } } : current,
  );
}

/** Refuses the queued prints of an inactive licence. Otherwise they would start by themselves when it is reinstated. */
async function refuseQueued({ records }: ControlContext, record: LicenceRecord): Promise<void> {
  const refusal = refusalOf(record);
  if (refusal === undefined) return;
  const { code, message: reason } = refusal;
  for await (const [print] of records.prints.list({ index: 'queued', group: `licence/${record.licence}` })) {
    await records.prints.update(print, (current) =>
      current.state === 'queued' ? { ...current, state: 'refused', code, reason } : current,
    );
  }
}

function refusalOf(record: LicenceRecord): MillraceError | undefined {
  try {
    requireActive(statusOf(record), record.licence);
    return undefined;
  } catch (error) {
    if (error instanceof MillraceError) return error;
    throw error;
  }
}
