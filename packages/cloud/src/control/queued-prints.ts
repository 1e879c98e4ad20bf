import { MillraceError } from '@millrace/base';
import type { TransactionOf } from '@millrace/protocol';
import { authorize } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { type PrintRecord, placeOf } from './records.ts';
import type { Submitted } from './submitted.ts';

// What happens to prints that wait, except their permits.

/**
 * Cancels a queued print for its holder.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE when the print is no longer queued
 */
export async function cancelPrint(
  { records, mutexes }: ControlContext,
  { body, actor }: Submitted<TransactionOf<'print.cancel'>>,
): Promise<{ print: string }> {
  const { print } = body;
  const found = await records.prints.require(print);
  authorize(actor, 'print.cancel', found);
  // Serialized with the machine's calls: a print that is about to be permitted has claimed an object.
  await mutexes.run(found.machine, () =>
    records.prints.update(print, (current) => {
      requireWaiting(current, 'cancelled');
      return { ...current, state: 'cancelled', code: 'E_CANCELLED', reason: 'the holder has cancelled the print' };
    }),
  );
  return { print };
}

/**
 * Moves a queued print before the other prints that its holder has on that machine. The holder's prints exchange their
 * places among themselves, so no print of another holder begins later than before.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE when the print is no longer queued
 */
export async function movePrintFirst(
  { records, mutexes, printQueue }: ControlContext,
  { body, actor }: Submitted<TransactionOf<'print.first'>>,
): Promise<{ print: string }> {
  const { print } = body;
  const found = await records.prints.require(print);
  authorize(actor, 'print.moveFirst', found);
  await mutexes.run(found.machine, async () => {
    requireWaiting(await records.prints.require(print), 'moved');
    const waiting = await printQueue.waiting({ records }, 'machine', found.machine);
    const own = waiting.filter(({ holder }) => holder === found.holder);
    const moved = own.findIndex((each) => each.print === print);
    const turns = [print, ...own.slice(0, moved).map((each) => each.print)];
    // The last first: if control is killed in between, two prints share a place, and none has one of somebody else.
    for (let i = moved; i >= 0; i--) {
      const place = placeOf(own[i] as PrintRecord);
      await records.prints.update(turns[i] as string, (current) => ({ ...current, place }));
    }
  });
  return { print };
}

/** @throws {MillraceError} E_STATE */
function requireWaiting({ print, state, number }: PrintRecord, done: string): void {
  if (state === 'queued' && number === undefined) return;
  throw new MillraceError('E_STATE', `the print is ${state}: only a print that waits can be ${done}`, {
    data: { print, state },
  });
}

/** Why prints of a licence are refused that a restore suspends. */
export const ASK_AGAIN =
  'a backup was restored; ask again when the owner of the licence has said how many objects are left';

/** Refuses the queued prints of a licence or a design for good: all, or those that cannot begin any more. */
export async function refuseQueued(
  { records }: Pick<ControlContext, 'records'>,
  by: 'licence' | 'design',
  id: string,
  { code, reason }: { readonly code: string; readonly reason: string },
  refused: (print: PrintRecord) => boolean = () => true,
): Promise<void> {
  for await (const [print, queued] of records.prints.list({ index: 'queued', group: `${by}/${id}` })) {
    if (!refused(queued)) continue;
    await records.prints.update(print, (current) =>
      current.state === 'queued' ? { ...current, state: 'refused', code, reason } : current,
    );
  }
}

/**
 * Refuses prints that were not started in time, whether or not their machine is online. A print that has claimed an
 * object keeps it.
 */
export async function refuseExpired({ records, clock }: Pick<ControlContext, 'records' | 'clock'>): Promise<void> {
  const now = clock.now();
  for await (const [print] of records.prints.list({ index: 'expiring', group: 'all', below: now })) {
    await records.prints.update(print, (current) =>
      current.state === 'queued' && current.number === undefined && current.startBy < now
        ? { ...current, state: 'refused', code: 'E_EXPIRED', reason: EXPIRED }
        : current,
    );
  }
}

export const EXPIRED = 'the print has expired: it did not begin in time';
