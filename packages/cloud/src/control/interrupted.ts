import { announceAmendments } from './amendments.ts';
import { announcePermit } from './announce-permit.ts';
import { announceCase } from './cases.ts';
import type { ControlContext } from './context.ts';
import { announceDeletion } from './designs.ts';
import { announceAssignment, announceGroup } from './groups.ts';
import { announceStatement } from './licence-status.ts';
import { announceLife } from './life.ts';
import { announceMaintenance } from './modes.ts';
import { settleClaims } from './permits.ts';
import { UNFINISHED } from './records.ts';
import { announceDesign, announceLicence } from './transactions.ts';

/**
 * Completes what a killed process left unfinished: claims first, then announcements. Each step is safe to repeat. Skips
 * records that cannot be used. Its time grows with what is unfinished, and with the prints in the queue, not with what
 * the installation has ever made: a takeover waits for it.
 */
export async function finishInterrupted(context: ControlContext): Promise<void> {
  const { records, damaged } = context;
  await settleClaims(context);
  for await (const [id, { pending, deletion, setting }] of records.designs.list(UNFINISHED)) {
    if (pending) await damaged.attempt('design', id, () => announceDesign(context, id));
    if (deletion?.announced === false) await damaged.attempt('design', id, () => announceDeletion(context, id));
    if (setting?.announced === false) await damaged.attempt('design', id, () => announceMaintenance(context, id));
  }
  for await (const [id, licence] of records.licences.list(UNFINISHED))
    if (licence.pending) await damaged.attempt('licence', id, () => announceLicence(context, id));
  for await (const [id, machine] of records.machines.list(UNFINISHED))
    if (machine.assignment?.announced === false)
      await damaged.attempt('machine', id, () => announceAssignment(context, id));
  for await (const [id, group] of records.groups.list(UNFINISHED))
    if (!group.announced) await damaged.attempt('group', id, () => announceGroup(context, id));
  for await (const [object, { report, decision }] of records.cases.list(UNFINISHED))
    if (!report.announced || decision?.announced === false)
      await damaged.attempt('case', object, () => announceCase(context, object));
  for await (const [id, print] of records.prints.list(UNFINISHED))
    if (print.permit?.announced === false) await damaged.attempt('print', id, () => announcePermit(context, id));
    else if (print.life?.pending !== undefined) await damaged.attempt('print', id, () => announceLife(context, print));
  // After the permits, because granted permits precede statements and amendments in the ledger.
  for await (const [id, { statement, amendments }] of records.licences.list(UNFINISHED)) {
    if (statement?.announced === false) await damaged.attempt('licence', id, () => announceStatement(context, id));
    if (amendments?.some(({ announced }) => !announced))
      await damaged.attempt('licence', id, () => announceAmendments(context, id));
  }
}
