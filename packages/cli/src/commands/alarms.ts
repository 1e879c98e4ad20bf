import { MillraceError } from '@millrace/base';
import { pick, signNew } from '@millrace/client';
import { formatTable } from '../output/format.ts';
import { type Context, withSession } from './context.ts';

export function list(context: Context): Promise<void> {
  return withSession(context, 'owner', async ({ api }) => {
    const alarms = (await api.prints()).filter(({ state }) => state === 'alarmed');
    context.terminal.result(
      { alarms },
      alarms.length === 0
        ? 'No alarms.'
        : formatTable(
            ['object', 'machine', 'cleared', 'reason'],
            alarms.map(({ object, machine, cleared, reason }) => [
              object ?? '-',
              machine,
              cleared ? 'yes' : 'no',
              reason ?? '-',
            ]),
          ),
    );
  });
}

/** Clears an alarm. The object stays stopped; the ledger records who cleared it. */
export function clear(context: Context, object: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { api } = session;
    const alarms = (await api.prints()).filter(({ state }) => state === 'alarmed');
    const { object: id } = pick('alarm', object, alarms, (view) => (view.object === undefined ? [] : [view.object]));
    if (id === undefined) throw new MillraceError('E_NOT_FOUND', `no alarm of object ${object}`);
    await api.submit((await signNew(session, { type: 'alarm.clear', object: id })).bytes);
    context.terminal.result(
      { object: id, cleared: true },
      `The alarm of object ${id} is cleared. The object stays stopped.`,
    );
  });
}
