import { cancelVisit, pick } from '@millrace/client';
import type { InstallationSession } from '../installation/session.ts';
import { formatTable } from '../output/format.ts';
import { openAt } from './cloud.ts';
import { type Context, withSession } from './context.ts';
import { machineName } from './machine-names.ts';

// Visits: orders of this cloud on machines of another one, where the same key is enrolled.

export interface VisitOptions {
  /** Home folder in which the key is enrolled at the machine's cloud. */
  readonly at: string;
}

export function list(context: Context, options: VisitOptions): Promise<void> {
  return withBoth(context, options, async (here, there) => {
    const visits = await visitsOf(here, there);
    context.terminal.result(
      { visits },
      visits.length === 0
        ? `You have ordered nothing of this cloud at ${there.directory.name}.`
        : formatTable(
            ['visit', 'print', 'machine', 'state', 'start by', 'code'],
            visits.map(({ visit, print, machine, state, startBy, code }) => [
              visit,
              print,
              machineName(there, machine),
              state,
              new Date(startBy).toISOString(),
              code ?? '',
            ]),
          ),
    );
  });
}

export function cancel(context: Context, name: string, options: VisitOptions): Promise<void> {
  return withBoth(context, options, async (here, there) => {
    const found = pick('visit', name, await visitsOf(here, there), ({ visit, print }) => [visit, print]);
    await cancelVisit(here, there, found);
    const { visit, print } = found;
    context.terminal.result(
      { visit, print, state: 'cancelled' },
      `Visit ${visit} and its print ${print} are cancelled. No object was used.`,
    );
  });
}

const visitsOf = async (here: InstallationSession, there: InstallationSession) =>
  (await there.api.visits()).filter(({ cloud }) => cloud === here.directory.installation);

function withBoth(
  context: Context,
  { at }: VisitOptions,
  work: (here: InstallationSession, there: InstallationSession) => Promise<void>,
): Promise<void> {
  return withSession(context, 'operator', async (here) => {
    const there = await openAt(context, at, here);
    try {
      await work(here, there);
    } finally {
      there.close();
    }
  });
}
