import { MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { leftFact, type Signed, type TransactionOf } from '@millrace/protocol';
import { authorize, userActor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { countClaims } from './permits.ts';

/**
 * Resumes a suspended licence by the owner's signed statement of how many objects are left. The statement is appended
 * to the ledger and mailed to both proactive nodes, which verify it themselves, before any object is permitted. Safe to
 * repeat.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE (not suspended, or suspended by another restore), E_INPUT (more than can
 * be left)
 */
export async function resumeLicence(
  context: ControlContext,
  { body, signer, bytes }: Signed<TransactionOf<'licence.resume'>>,
  id: string,
) {
  const { records, ledger, mailbox } = context;
  const licence = await records.licences.require(body.licence);
  const { restore, objects } = body;
  authorize(userActor(context.directory, keyName(signer)), 'licence.resume', licence);
  if (licence.suspended !== restore)
    throw new MillraceError('E_STATE', 'the licence does not wait for this statement: see `millrace licence list`');
  const most = licence.objects - (await countClaims(context, licence));
  if (objects > most)
    throw new MillraceError('E_INPUT', `the licence can have at most ${most} objects left`, { data: { most } });
  await ledger.append({ ...leftFact(body, licence.owner), evidence: [bytes], eventId: `resume/${id}` });
  const message = { type: 'licence.resume' as const, licence: licence.transaction, transaction: bytes };
  await mailbox.send({ role: 'segments', partition: licence.design }, `resume/${id}`, message);
  await mailbox.send({ role: 'keys', partition: licence.design }, `resume/${id}`, message);
  const floor = licence.objects - objects;
  await records.licences.update(body.licence, ({ suspended: _said, ...current }) => ({ ...current, floor }));
  return { licence: body.licence };
}
