import { MillraceError, sleep, toMillraceError } from '@millrace/base';
import type { StatusView } from '@millrace/client';
import { openInstallation, readAddresses } from '../installation/open.ts';
import { openSession } from '../installation/session.ts';
import { commandName } from '../output/command-name.ts';
import { formatDuration, formatTable } from '../output/format.ts';
import { format } from '../supervisor/children.ts';
import { lockHolder } from '../supervisor/lock.ts';
import type { ProcessStatus } from '../supervisor/managed-process.ts';
import { readSupervisorStatus } from '../supervisor/status.ts';
import { type Context, TOKEN_VARIABLE, withSession } from './context.ts';
import { expiryNotice, toJson } from './keys.ts';

/** Exit code 5 if a process does not run, 6 if a node is in quarantine or a record was set aside. */
export async function status(context: Context): Promise<number> {
  const { terminal, clock } = context;
  if (context.env[TOKEN_VARIABLE] !== undefined) return controlStatus(context);
  const installation = await openInstallation(context.home, clock);
  const { layout } = installation;
  const supervisor = await readSupervisorStatus(layout.run);
  const { entries, lines: notices } = await expiryNotice(installation, clock.now());
  const expiring = entries.map(toJson);
  if (supervisor === undefined) {
    terminal.result(
      { home: layout.home, running: false, expiring },
      [`The installation in ${layout.home} is not running. Start it with \`${commandName} up\`.`, ...notices].join(
        '\n',
      ),
    );
    return 5;
  }
  const addresses = await readAddresses(installation).catch(() => undefined);
  const control = await askControl(context, installation);
  const now = clock.now();
  const wall = (time: string) => formatDuration(Math.max(0, now - Date.parse(time)));
  const lines = [
    `Installation ${installation.directory.name} in ${layout.home}, supervisor process ${supervisor.supervisor}, for ${wall(supervisor.started)}`,
    ...(addresses === undefined
      ? []
      : [`control ${format(addresses.control)}, distribution ${format(addresses.distribution)}`]),
    '',
    formatTable(
      ['process', 'state', 'pid', 'since', 'restarts', 'last exit'],
      supervisor.processes.map((process) => [
        process.name,
        process.state,
        process.pid === null ? '-' : String(process.pid),
        wall(process.since),
        String(process.restarts),
        exitOf(process, wall),
      ]),
    ),
    '',
    ...controlLines(control, now),
    ...notices,
  ];
  terminal.result({ home: layout.home, running: true, addresses, ...supervisor, control, expiring }, lines.join('\n'));
  if (!('error' in control) && [...(control.quarantine ?? []), ...(control.damagedRecords ?? [])].length > 0) return 6;
  return supervisor.processes.every(({ state }) => state === 'running') && !('error' in control) ? 0 : 5;
}

function exitOf({ lastExit }: ProcessStatus, ago: (time: string) => string): string {
  if (lastExit === null) return '-';
  return `${lastExit.signal ?? `code ${lastExit.code}`}, ${ago(lastExit.time)} ago`;
}

async function askControl(context: Context, installation: Awaited<ReturnType<typeof openInstallation>>) {
  const { clock, random, signal } = context;
  try {
    const user = context.user ?? 'admin';
    const session = await openSession({ installation, user, clock, random, signal, patienceMs: 0 });
    try {
      return await session.api.status();
    } finally {
      session.close();
    }
  } catch (error) {
    return { error: toMillraceError(error).toJSON() };
  }
}

/** For a caller with an API token: only what control says. */
function controlStatus(context: Context): Promise<number> {
  return withSession(context, 'admin', async ({ api }) => {
    const control = await api.status();
    context.terminal.result({ control }, controlLines(control, context.clock.now()).join('\n'));
    return (control.quarantine ?? []).length + (control.damagedRecords ?? []).length > 0 ? 6 : 0;
  });
}

function controlLines(control: StatusView | { error: { code: string; message: string } }, now: number): string[] {
  if ('error' in control) return [`control: ${control.error.code}: ${control.error.message}`];
  const seen = control.nodes.map(({ id, seen }) => `${id} ${formatDuration(Math.max(0, now - seen))} ago`);
  const maintenance = control.maintenance ?? undefined;
  return [
    ...(control.quarantine ?? []).map(({ id, reason }) => `quarantine (E_QUARANTINE): ${id}: ${reason}`),
    ...(control.damagedRecords ?? []).map(
      ({ table, id, code, reason }) => `record skipped (${code}): ${table} ${id}: ${reason}`,
    ),
    `seen by control: ${seen.join(', ') || 'none yet'}`,
    ...(maintenance === undefined ? [] : [`maintenance: ${describe(maintenance)}`]),
    ...owingLines(maintenance?.replicas),
  ];
}

function owingLines(replicas: NonNullable<StatusView['maintenance']>['replicas']): string[] {
  if (replicas === undefined || replicas.owing.length === 0) return [];
  return [
    `keys of epochs after ${replicas.destroyedThrough} may not be destroyed at ${replicas.owing.join(', ')}: start it, or \`${commandName} node replicas --remove\` it and destroy its disk`,
  ];
}

/** Formats one level of the keys node's status as "key value, key value …". */
function describe(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  return Object.entries(value)
    .map(([key, item]) => `${key} ${typeof item === 'object' ? JSON.stringify(item) : String(item)}`)
    .join(', ');
}

/** Asks the supervisor to stop everything and waits for it. */
export async function down(context: Context): Promise<void> {
  const { terminal, signal, clock } = context;
  const { layout } = await openInstallation(context.home);
  const holder = await lockHolder(layout.run.lock);
  if (holder === undefined) throw new MillraceError('E_NOT_FOUND', `the installation in ${layout.home} is not running`);
  process.kill(holder, 'SIGTERM');
  const end = clock.monotonic() + 90_000;
  while ((await lockHolder(layout.run.lock)) === holder) {
    if (clock.monotonic() > end) throw new MillraceError('E_TIMEOUT', `process ${holder} did not end in time`);
    await sleep(100, signal);
  }
  terminal.result({ home: layout.home, stopped: holder }, `Stopped (process ${holder}).`);
}
