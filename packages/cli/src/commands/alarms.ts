import { MillraceError } from '@millrace/base';
import { createNames, type OdometerView, type PrintView, pick, type Session, signNew } from '@millrace/client';
import { formatTable } from '../output/format.ts';
import { type Context, withSession } from './context.ts';

export function list(context: Context): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const prints = await session.api.prints();
    const alarms = prints.filter(({ state }) => state === 'alarmed');
    const names = createNames(session);
    const who = await Promise.all(alarms.map(({ orderedBy }) => names.key(orderedBy.key)));
    const machines = await machineAlarms(session, prints);
    context.terminal.result(
      { alarms, machines },
      alarms.length + machines.length === 0
        ? 'No alarms.'
        : formatTable(
            ['object', 'machine', 'ordered by', 'cleared', 'reason'],
            [
              ...alarms.map(({ object, machine, orderedBy, cleared, reason }, i) => [
                object ?? '-',
                machine,
                who[i] ?? orderedBy.key,
                cleared ? 'yes' : 'no',
                reason ?? '-',
              ]),
              ...machines.map(({ machine, alarm, cleared }) => [
                '-',
                machine,
                '-',
                cleared.length > 0 ? 'yes' : 'no',
                `its odometer ${alarm?.reason}`,
              ]),
            ],
          ),
    );
  });
}

/** Clears an alarm of an object, which stays stopped, or of a machine. The ledger records who cleared it. */
export function clear(context: Context, object: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { api } = session;
    const machine = (await api.machines()).find((view) => [view.machine, view.serial].includes(object));
    if (machine !== undefined) return clearMachine(context, session, machine.machine);
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

/** Odometers with an alarm, of the machines of these prints. */
async function machineAlarms({ api }: Session, prints: readonly PrintView[]): Promise<OdometerView[]> {
  const machines = new Set(prints.map(({ machine }) => machine));
  const views = await Promise.all([...machines].map((machine) => odometerOf(api, machine)));
  return views.filter((view): view is OdometerView => view?.alarm !== undefined);
}

/** Undefined for a machine that has not stated an odometer yet. */
async function odometerOf(api: Session['api'], machine: string): Promise<OdometerView | undefined> {
  return api.odometer(machine).catch((error: unknown) => {
    if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') return undefined;
    throw error;
  });
}

async function clearMachine(context: Context, session: Session, machine: string): Promise<void> {
  const { api } = session;
  const { alarm } = await api.odometer(machine);
  if (alarm === undefined) throw new MillraceError('E_NOT_FOUND', `the odometer of machine ${machine} has no alarm`);
  const licence = (await api.licences()).find(({ machines }) => machines.includes(machine))?.licence;
  if (licence === undefined) throw new MillraceError('E_NOT_FOUND', `no licence of yours names machine ${machine}`);
  await api.submit((await signNew(session, { type: 'odometer.clear', machine, licence, alarm: alarm.alarm })).bytes);
  context.terminal.result({ machine, cleared: true }, `The alarm of machine ${machine} is cleared for your licences.`);
}
