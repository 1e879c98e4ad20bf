import { cancelPrint, pick, queuedPrints } from '@millrace/client';
import { findMachine } from '../installation/open.ts';
import type { InstallationSession } from '../installation/session.ts';
import { formatTable } from '../output/format.ts';
import { type Context, withSession } from './context.ts';

export interface QueueOptions {
  readonly machine?: string;
}

export function list(context: Context, options: QueueOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const prints = await queuedPrints(session, machineOf(session, options));
    context.terminal.result(
      { prints },
      prints.length === 0
        ? 'No prints wait.'
        : formatTable(
            ['machine', 'print', 'licence', 'requested', 'start by'],
            prints.map(({ machine, print, licence, created, startBy }) => [
              machine,
              print,
              licence,
              new Date(created).toISOString(),
              new Date(startBy).toISOString(),
            ]),
          ),
    );
  });
}

export function cancel(context: Context, print: string): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const { print: id } = pick('print', print, await session.api.prints(), (view) => [view.print]);
    await cancelPrint(session, id);
    context.terminal.result({ print: id, state: 'cancelled' }, `Print ${id} is cancelled. No object was used.`);
  });
}

export function clear(context: Context, options: QueueOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const prints = await queuedPrints(session, machineOf(session, options));
    for (const { print } of prints) await cancelPrint(session, print);
    const cancelled = prints.map(({ print }) => print);
    context.terminal.result({ cancelled }, `${cancelled.length} prints are cancelled.`);
  });
}

function machineOf({ installation }: InstallationSession, { machine }: QueueOptions): string | undefined {
  if (machine === undefined || /^[0-9a-f]{32}$/.test(machine)) return machine;
  return findMachine(installation.description, machine).registration.machine;
}
