import { commandPrint, pick } from '@millrace/client';
import type { PrintCommand } from '@millrace/protocol';
import { type Context, withSession } from './context.ts';

const done: Readonly<Record<PrintCommand, string>> = {
  pause: 'is paused',
  resume: 'goes on',
  cancel: 'is ended',
  stop: 'is stopped. The machine takes no work until it is resumed there',
};

/** Commands the machine that makes a print, as an operator of the holder or a designer of the owner. */
export function command(
  context: Context,
  name: PrintCommand,
  print: string,
  { cause }: { readonly cause?: string },
): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const ids = (view: { readonly print: string; readonly object?: string | undefined }) =>
      view.object === undefined ? [view.print] : [view.print, view.object];
    const { print: id } = pick('print', print, await session.api.prints(), ids);
    await commandPrint(session, id, name, cause);
    context.terminal.result({ print: id, command: name }, `Print ${id} ${done[name]}.`);
  });
}
