import type { ControlContext } from './context.ts';
import { announceDeletion } from './designs.ts';
import { announceStatement } from './licence-status.ts';
import { announceMaintenance } from './modes.ts';
import { announcePermit, settleClaims } from './permits.ts';
import { announceDesign, announceLicence } from './transactions.ts';

/**
 * Completes what a killed process left unfinished: claims first, then announcements. Each step is safe to repeat. Skips
 * records that cannot be used.
 */
export async function finishInterrupted(context: ControlContext): Promise<void> {
  const { records, damaged } = context;
  await settleClaims(context);
  for await (const [id, design] of records.designs.list())
    if (design.pending) await damaged.attempt('design', id, () => announceDesign(context, id));
  for await (const [id, design] of records.designs.list())
    if (design.deletion?.announced === false) await damaged.attempt('design', id, () => announceDeletion(context, id));
  for await (const [id, design] of records.designs.list())
    if (design.setting?.announced === false)
      await damaged.attempt('design', id, () => announceMaintenance(context, id));
  for await (const [id, licence] of records.licences.list())
    if (licence.pending) await damaged.attempt('licence', id, () => announceLicence(context, id));
  for await (const [id, print] of records.prints.list())
    if (print.permit?.announced === false) await damaged.attempt('print', id, () => announcePermit(context, id));
  // After the permits, because granted permits precede the statement in the ledger.
  for await (const [id, licence] of records.licences.list())
    if (licence.statement?.announced === false)
      await damaged.attempt('licence', id, () => announceStatement(context, id));
}
