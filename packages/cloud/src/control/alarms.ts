import { MillraceError } from '@millrace/base';
import { clearedFact, type MessageOf, type TransactionOf } from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { withPart } from './life.ts';
import { sendToBoth } from './mailbox.ts';
import type { PrintRecord } from './records.ts';
import type { Submitted } from './submitted.ts';

const keyOf = ({ licence, machine }: Pick<PrintRecord, 'licence' | 'machine'>) => `${licence}/${machine}`;

/**
 * Handles the alarm of a proactive node that stopped a stream. Records it in the ledger and marks the print as alarmed.
 * The account of a retired part is final, so its alarm is in control's records only.
 */
export async function takeAlarm(
  context: ControlContext,
  message: MessageOf<'stream.alarm'>,
  from: string,
): Promise<void> {
  const { records, ledger, logger } = context;
  const { object, acked, permitId } = message;
  await withPart(context, object, async (print) => {
    logger.warn({ object, acked, by: from }, 'stream stopped by an alarm: the owner has to clear it');
    if (!print.life?.retired)
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
  });
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
 * Appends the owner's signed clearance to the ledger, unless the part is retired, and mails it to both proactive nodes,
 * which verify it themselves. Safe to repeat.
 */
export function clearAlarm(
  context: ControlContext,
  { body, actor, credential, bytes }: Submitted<TransactionOf<'alarm.clear'>>,
): Promise<{ object: string }> {
  const { records, ledger, mailbox } = context;
  const { object } = body;
  return withPart(context, object, async (print) => {
    authorize(actor, 'alarm.clear', await records.designs.require(print.design));
    if (print.state !== 'alarmed' || print.cleared)
      throw new MillraceError('E_STATE', `object ${object} has no alarm to be cleared`);
    if (!print.life?.retired)
      await ledger.append({
        ...clearedFact(body, actor.name),
        evidence: [bytes, credential],
        eventId: `cleared/${object}`,
      });
    const message = { type: 'alarm.clear' as const, object, transaction: bytes, credential };
    await sendToBoth(mailbox, print.design, `cleared/${object}`, message);
    await records.alarms.update(keyOf(print), ({ objects }) => ({
      objects: objects.filter((name) => name !== object),
    }));
    await records.prints.update(print.print, (current) => ({ ...current, cleared: true }));
  });
}
