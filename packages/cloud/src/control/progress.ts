import type { Progress } from '@millrace/api';
import type { ControlContext } from './context.ts';
import { printOf } from './object-prints.ts';
import { isBegun } from './records.ts';

/**
 * Keeps the newest figures of a running print; ignores those of other prints.
 * @throws {MillraceError} E_NOT_FOUND
 */
export async function takeProgress(context: ControlContext, object: string, told: Progress): Promise<void> {
  const { progress } = context;
  const known = progress.get(object);
  const at = context.clock.now();
  progress.set(object, {
    ...{ ...told, machine: told.machine ?? known?.machine, owner: told.owner ?? known?.owner },
    ...{ at, machineAt: told.machine === undefined ? known?.machineAt : at },
  });
  // Stored before the record is read: a print that ends meanwhile removes the figures after its record has changed.
  let begun = false;
  try {
    const print = await printOf(context, object);
    begun = isBegun(print);
    if (begun) context.changes.figures(print);
  } finally {
    if (!begun) progress.delete(object);
  }
}
