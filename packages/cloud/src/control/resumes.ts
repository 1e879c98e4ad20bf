import { MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { leftFact, type Signed, type TransactionOf } from '@millrace/protocol';
import { authorize, userActor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { countClaims } from './permits.ts';

/**
 * The owner's word on what is left of a suspended licence: to the ledger, and to both proactive nodes, who verify it
 * themselves, before anything is permitted by it. Safe to repeat.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE (not suspended, or by another restoring), E_INPUT (more than can be left)
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
    throw new MillraceError('E_STATE', 'the licence does not wait for this word: see `millrace licence list`');
  const most = licence.objects - (await countClaims(context, licence));
  if (objects > most)
    throw new MillraceError('E_INPUT', `at most ${most} objects of the licence can be left`, { data: { most } });
  await ledger.append({ ...leftFact(body, licence.owner), evidence: [bytes], eventId: `resume/${id}` });
  const message = { type: 'licence.resume' as const, licence: licence.transaction, transaction: bytes };
  await mailbox.send({ role: 'segments', partition: licence.design }, `resume/${id}`, message);
  await mailbox.send({ role: 'keys', partition: licence.design }, `resume/${id}`, message);
  const floor = licence.objects - objects;
  await records.licences.update(body.licence, ({ suspended: _said, ...current }) => ({ ...current, floor }));
  return { licence: body.licence };
}
