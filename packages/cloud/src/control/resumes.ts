import { MillraceError } from '@millrace/base';
import { leftFact, type TransactionOf } from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import { mailCredit } from './cases.ts';
import type { ControlContext } from './context.ts';
import { allowedObjects } from './licence-records.ts';
import { sendToBoth } from './mailbox.ts';
import { countClaims } from './permits.ts';
import type { Submitted } from './submitted.ts';

/**
 * Resumes a suspended licence by the owner's signed statement of how many objects are left. The statement is appended
 * to the ledger and mailed to both proactive nodes, which verify it themselves, before any object is permitted. Safe to
 * repeat.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE (not suspended, suspended by another restore, or dated before an earlier
 * statement), E_INPUT (more than can be left)
 */
export function resumeLicence(
  context: ControlContext,
  submitted: Submitted<TransactionOf<'licence.resume'>>,
  id: string,
): Promise<{ licence: string }> {
  // No credit in between: control and both nodes must count the same credits when they set the floor.
  return context.mutexes.run(`licence/${submitted.body.licence}`, () => resumeOnce(context, submitted, id));
}

async function resumeOnce(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'licence.resume'>>,
  id: string,
) {
  const { records, ledger, mailbox } = context;
  const licence = await records.licences.require(body.licence);
  const { restore, objects } = body;
  authorize(actor, 'licence.resume', licence);
  if (licence.suspended !== restore)
    throw new MillraceError('E_STATE', 'the licence does not wait for this statement: see `millrace licence list`');
  // The nodes do not accept it for a replay of that statement.
  if (licence.stated !== undefined && body.issued <= licence.stated)
    throw new MillraceError('E_STATE', 'the owner’s last statement on the licence has a later date: check the clock');
  const most = allowedObjects(licence) - (await countClaims(context, licence));
  if (objects > most)
    throw new MillraceError('E_INPUT', `the licence can have at most ${most} objects left`, { data: { most } });
  await ledger.append({ ...leftFact(body, actor.name), evidence: [bytes, credential], eventId: `resume/${id}` });
  // A node that was restored may have lost credits.
  for (const object of licence.credits) await mailCredit(context, object, `resume/${id}/${object}`);
  const of = { licence: licence.transaction, licenceSigner: licence.credential };
  const message = { type: 'licence.resume' as const, ...of, transaction: bytes, credential };
  await sendToBoth(mailbox, licence.design, `resume/${id}`, message);
  const floor = allowedObjects(licence) - objects;
  await records.licences.update(body.licence, ({ suspended: _said, ...current }) => ({
    ...current,
    floor,
    stated: Math.max(current.stated ?? 0, body.issued),
  }));
  return { licence: body.licence };
}
