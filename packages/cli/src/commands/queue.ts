import { cancelPrint, createNames, movePrintFirst, pick, queuedPrints, type Session } from '@millrace/client';
import { formatTable } from '../output/format.ts';
import { type Context, withSession } from './context.ts';
import { machineId, machineName } from './machine-names.ts';

export interface QueueOptions {
  readonly machine?: string;
}

export function list(context: Context, options: QueueOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const prints = await queuedPrints(session, await machineOf(session, options));
    const names = createNames(session);
    const who = await Promise.all(prints.map(({ orderedBy }) => names.key(orderedBy.key)));
    context.terminal.result(
      { prints },
      prints.length === 0
        ? 'No prints wait.'
        : formatTable(
            ['machine', 'print', 'licence', 'ordered by', 'requested', 'start by'],
            prints.map(({ machine, print, licence, orderedBy, created, startBy }, i) => [
              machineName(session, machine),
              print,
              licence,
              who[i] ?? orderedBy.key,
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

export function first(context: Context, print: string): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const { print: id, machine } = pick('print', print, await session.api.prints(), (view) => [view.print]);
    await movePrintFirst(session, id);
    context.terminal.result(
      { print: id },
      `Print ${id} is the next of your prints on machine ${machineName(session, machine)}.`,
    );
  });
}

export function clear(context: Context, options: QueueOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const prints = await queuedPrints(session, await machineOf(session, options));
    for (const { print } of prints) await cancelPrint(session, print);
    const cancelled = prints.map(({ print }) => print);
    context.terminal.result({ cancelled }, `${cancelled.length} prints are cancelled.`);
  });
}

async function machineOf(session: Session, { machine }: QueueOptions): Promise<string | undefined> {
  return machine === undefined ? undefined : machineId(session, machine);
}
