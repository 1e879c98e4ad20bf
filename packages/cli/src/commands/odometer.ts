import { formatFields } from '../output/format.ts';
import { type Context, withSession } from './context.ts';
import { machineNamed } from './machine-names.ts';

/** What the machine states of its life, beside what control counts from the reports in the ledger. */
export function show(context: Context, name: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { machine, serial } = await machineNamed(session, name);
    const view = await session.api.odometer(machine);
    const { last, counted, alarm, at, running } = view;
    context.terminal.result(
      { serial, ...view },
      [
        `Machine ${serial} (${machine})`,
        formatFields(
          [
            ['of its life', `${last.minutes} min of motion, ${last.metres} m, ${last.grams} g`],
            ['', last.spindle === undefined ? undefined : `${last.spindle} min with the spindle on`],
            ['', `${last.started} objects begun, ${last.ended} ended`],
            ['stated', `${new Date(at).toISOString()}${running ? ', an object is being made' : ''}`],
            [
              'by reports',
              `${counted.ended} objects ended, ${counted.metres} m and ${counted.grams} g of stated spools`,
            ],
            ['alarm', alarm && `${new Date(alarm.at).toISOString()}: its odometer ${alarm.reason}`],
            ['cleared by', view.cleared.join(', ') || undefined],
          ],
          '  ',
        ),
      ].join('\n'),
    );
  });
}
