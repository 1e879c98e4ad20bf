import { MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { clearedFact, type MessageOf, type Signed, type TransactionOf } from '@millrace/protocol';
import { authorize, userActor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import type { PrintRecord } from './records.ts';
import { printOf } from './reports.ts';

const keyOf = ({ licence, machine }: Pick<PrintRecord, 'licence' | 'machine'>) => `${licence}/${machine}`;

/**
 * Handles the alarm of a proactive node that stopped a stream. Records it in the ledger and marks the print as alarmed.
 */
export async function takeAlarm(
  context: ControlContext,
  message: MessageOf<'stream.alarm'>,
  from: string,
): Promise<void> {
  const { records, ledger, logger } = context;
  const { object, acked, permitId } = message;
  const print = await printOf(context, object);
  logger.warn({ object, acked, by: from }, 'stream stopped by an alarm: the owner has to clear it');
  await ledger
    .append({
      account: object,
      type: 'alarmed',
      actor: from,
      body: { by: from, acked, permit: permitId, code: 'E_ALARM' },
      eventId: `alarmed/${object}`,
    })
    .catch((error: unknown) => {
      // Both proactive nodes raise it; the first one counts.
      if (!(error instanceof MillraceError && error.code === 'E_CONFLICT')) throw error;
    });
  if (print.cleared) return; // the message was delivered again
  if (!(await records.alarms.create(keyOf(print), { objects: [object] })))
    await records.alarms.update(keyOf(print), ({ objects }) => ({ objects: [...new Set([...objects, object])] }));
  await records.prints.update(print.print, (current) =>
    current.state === 'alarmed'
      ? current
      : { ...current, state: 'alarmed', code: 'E_ALARM', reason: `${message.reason} (noticed by the ${from} node)` },
  );
  context.progress.delete(object);
}

/**
 * Refuses a print while its machine has an alarm for the licence that the owner has not cleared.
 * @throws {MillraceError} E_ALARM
 */
export async function requireNoAlarm(
  { records }: ControlContext,
  print: Pick<PrintRecord, 'licence' | 'machine'>,
): Promise<void> {
  const object = (await records.alarms.get(keyOf(print)))?.objects[0];
  if (object === undefined) return;
  throw new MillraceError('E_ALARM', `object ${object} of this licence raised an alarm on this machine`, {
    data: { object },
  });
}

/**
 * Appends the owner's signed clearance to the ledger and mails it to both proactive nodes, which verify it themselves.
 * Safe to repeat.
 */
export async function clearAlarm(
  context: ControlContext,
  { body, signer, bytes }: Signed<TransactionOf<'alarm.clear'>>,
) {
  const { records, ledger, mailbox } = context;
  const { object } = body;
  const print = await printOf(context, object);
  const owner = keyName(signer);
  authorize(userActor(context.directory, owner), 'alarm.clear', await records.designs.require(print.design));
  if (print.state !== 'alarmed' || print.cleared)
    throw new MillraceError('E_STATE', `object ${object} has no alarm to be cleared`);
  await ledger.append({ ...clearedFact(body, owner), evidence: [bytes], eventId: `cleared/${object}` });
  const message = { type: 'alarm.clear' as const, object, transaction: bytes };
  await mailbox.send({ role: 'segments', partition: print.design }, `cleared/${object}`, message);
  await mailbox.send({ role: 'keys', partition: print.design }, `cleared/${object}`, message);
  await records.alarms.update(keyOf(print), ({ objects }) => ({ objects: objects.filter((name) => name !== object) }));
  await records.prints.update(print.print, (current) => ({ ...current, cleared: true }));
  return { object };
}
