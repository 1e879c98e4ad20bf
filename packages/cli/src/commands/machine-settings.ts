import { readFile } from 'node:fs/promises';
import { decodeCbor, MillraceError } from '@millrace/base';
import {
  groupNamed,
  type MachineView,
  machineSettings,
  previousSettings,
  readSettings,
  type Session,
  type SettingsView,
  setMachineSettings,
  signedGroup,
  verifySettings,
} from '@millrace/client';
import type { RemoteSettings } from '@millrace/protocol';
import { formatFields } from '../output/format.ts';
import { type Context, withSession } from './context.ts';
import { machineId, machineName } from './machine-names.ts';

export interface WhichMachines {
  readonly machine?: readonly string[];
  readonly group?: string;
  readonly site?: string;
}

/** Signs the settings of a file for machines of the user's organisation. */
export function set(context: Context, options: WhichMachines & { readonly file: string }): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const settings = readSettings(await readJson(context.path(options.file)), options.file);
    await sign(context, session, await machinesOf(session, options), settings);
  });
}

/** Signs the settings that one machine has applied for more machines. */
export function promote(context: Context, name: string, options: WhichMachines): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const { view, settings } = await shown(session, name);
    if (view.state !== 'applied')
      throw new MillraceError(
        'E_STATE',
        `${name} has not applied version ${view.number}: its settings are ${view.state}`,
      );
    const machines = (await machinesOf(session, options)).filter((machine) => machine !== view.machine);
    await sign(context, session, machines, settings);
  });
}

/** Signs the settings that a machine had before as new ones. */
export function rollback(context: Context, name: string): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const { view } = await shown(session, name);
    await sign(context, session, [view.machine], previousSettings(view));
  });
}

export function show(context: Context, name: string): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const { view, settings } = await shown(session, name);
    const { state, code, number, machine, setBy } = view;
    const words = wordsOf(settings);
    context.terminal.result(
      { machine, number, state, code, settings: words },
      [
        `${name}: version ${number}, ${stateText(view)}`,
        formatFields(
          [
            ['set by', setBy.name ?? setBy.key],
            ...Object.entries(words).map(([key, value]) => [key, JSON.stringify(value)] as const),
          ],
          '  ',
        ),
      ].join('\n'),
    );
  });
}

const stateText = ({ state, code }: SettingsView): string =>
  state === 'pending'
    ? 'not taken yet: the machine takes it between two prints'
    : `${state}${code ? ` (${code})` : ''}`;

function wordsOf({ safety, ...plain }: RemoteSettings): Record<string, unknown> {
  return { ...plain, ...(safety && { safety: decodeCbor(safety, 'safety policy') }) };
}

/** The newest settings of a machine, verified. */
async function shown(session: Session, name: string) {
  const machine = await machineId(session, name);
  const registered = (await session.api.machines()).find((known) => known.machine === machine);
  const view = await machineSettings(session, machine);
  if (registered === undefined || view === undefined)
    throw new MillraceError('E_NOT_FOUND', `${name} has no settings from elsewhere`);
  return { view, settings: await verifySettings(session, view, registered satisfies MachineView) };
}

async function sign(
  { terminal }: Context,
  session: Session,
  machines: readonly string[],
  settings: RemoteSettings,
): Promise<void> {
  if (machines.length === 0) throw new MillraceError('E_INPUT', 'name machines: --machine, --group or --site');
  const number = await setMachineSettings(session, machines, settings);
  const names = machines.map((machine) => machineName(session, machine)).join(', ');
  terminal.result(
    { number, machines, settings: wordsOf(settings) },
    `Version ${number} is signed for ${names}. Each machine takes it between two prints and reports back.`,
  );
}

async function machinesOf(session: Session, { machine = [], group, site }: WhichMachines): Promise<string[]> {
  const machines = new Set(await Promise.all(machine.map((name) => machineId(session, name))));
  for (const [kind, name] of [
    ['group', group],
    ['site', site],
  ] as const) {
    if (name === undefined) continue;
    const { machines: members } = await signedGroup(session, await groupNamed(session, name, kind));
    for (const member of members) machines.add(member);
  }
  return [...machines];
}

async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new MillraceError('E_INPUT', `cannot read ${file} as JSON`, { cause });
  }
}
