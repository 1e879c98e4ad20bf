import { MillraceError } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { Signed, TransactionOf } from '@millrace/protocol';
import { authorize, userActor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';

// Prints that leave the queue without a permit.

/**
 * Cancels a queued print for its holder.
 * @throws {MillraceError} E_FORBIDDEN, E_STATE when the print is no longer queued
 */
export async function cancelPrint(
  { records, directory, mutexes }: ControlContext,
  { body, signer }: Signed<TransactionOf<'print.cancel'>>,
): Promise<{ print: string }> {
  const { print } = body;
  const found = await records.prints.require(print);
  authorize(userActor(directory, keyName(signer)), 'print.cancel', found);
  // Serialized with the machine's calls: a print that is about to be permitted has claimed an object.
  await mutexes.run(found.machine, () =>
    records.prints.update(print, (current) => {
      if (current.state !== 'queued' || current.number !== undefined)
        throw new MillraceError('E_STATE', `the print is ${current.state}: only a print that waits can be cancelled`, {
          data: { print, state: current.state },
        });
      return { ...current, state: 'cancelled', code: 'E_CANCELLED', reason: 'the holder has cancelled the print' };
    }),
  );
  return { print };
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
