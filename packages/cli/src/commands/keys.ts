import { MillraceError } from '@millrace/base';
import type { NodeRole } from '@millrace/protocol';
import { nodeRoles } from '../installation/layout.ts';
import { type Installation, openInstallation } from '../installation/open.ts';
import { commandName } from '../output/command-name.ts';
import { formatTable } from '../output/format.ts';
import { expiring, type KeyEntry, listKeys, placesDue } from '../rotation/expiry.ts';
import { NOTICE_DAYS, OVERLAP_DAYS, requireRotatable } from '../rotation/names.ts';
import { placesHere } from '../rotation/places.ts';
import { noProcesses, type Processes, supervisedProcesses } from '../rotation/processes.ts';
import { renewCertificates, rotate as rotateKeys } from '../rotation/rotate.ts';
import { acquireLock, lockHolder } from '../supervisor/lock.ts';
import { type Context, wholeNumber } from './context.ts';

/** Lists all certificates and keys with their expiry. */
export async function list(context: Context): Promise<void> {
  const installation = await openInstallation(context.home, context.clock);
  const entries = await listKeys(installation);
  context.terminal.result(
    { directory: installation.directories.sequence, keys: entries.map(toJson) },
    formatTable(
      ['kind', 'use', 'of', 'id', 'until', ''],
      entries.map((entry) => [
        entry.kind,
        entry.use,
        entry.of,
        entry.id,
        entry.expires === null ? '-' : new Date(entry.expires).toISOString().slice(0, 10),
        entry.former ? 'former' : '',
      ]),
    ),
  );
}

/** Replaces keys of one kind. The installation may be running or stopped. */
export async function rotate(
  context: Context,
  what: string,
  options: { readonly node?: string; readonly overlap?: string },
): Promise<void> {
  const kind = requireRotatable(what);
  const roles = options.node === undefined ? undefined : [requireRole(options.node)];
  if (roles !== undefined && kind !== 'tls' && kind !== 'identity')
    throw new MillraceError('E_INPUT', '--node can only be used with tls and identity');
  const days = options.overlap === undefined ? undefined : wholeNumber(options.overlap, '--overlap', 0, 365);
  const { clock, random, signal } = context;
  await whileAlone(context, async (installation, processes) => {
    const common = { installation, processes, clock, random, signal };
    const restarted = await rotateKeys(kind, { ...common, roles, overlapDays: days });
    const until =
      days === 0
        ? 'The old one is no longer accepted.'
        : `The old one is accepted for ${days ?? OVERLAP_DAYS} more days.`;
    context.terminal.result(
      { rotated: kind, directory: installation.directories.sequence, restarted, overlapDays: days ?? OVERLAP_DAYS },
      [
        `Rotated: ${kind}. Directory number ${installation.directories.sequence}.`,
        ...(restarted.length > 0 ? [`Restarted one after the other: ${restarted.join(', ')}.`] : []),
        until,
      ].join('\n'),
    );
  });
}

/** Renews the certificates that expire soon. */
export async function renew(context: Context, options: { readonly all?: boolean }): Promise<void> {
  const { clock, random, signal } = context;
  await whileAlone(context, async (installation, processes) => {
    const places = options.all === true ? await placesHere(installation) : await placesDue(installation, clock.now());
    const names = places.map(({ name }) => name);
    const common = { installation, processes, clock, random, signal };
    const restarted = places.length === 0 ? [] : await renewCertificates(common, places);
    context.terminal.result(
      { renewed: names, restarted },
      names.length === 0
        ? `No certificate expires within ${NOTICE_DAYS} days. Use --all to renew all of them.`
        : `Renewed: ${names.join(', ')}.`,
    );
  });
}

/** Runs `work` with the supervisor's processes or, if nothing runs, while holding the supervisor's lock. */
export async function whileAlone(
  context: Context,
  work: (installation: Installation, processes: Processes) => Promise<void>,
): Promise<void> {
  const { clock, signal } = context;
  const installation = await openInstallation(context.home, clock);
  const { run } = installation.layout;
  if ((await lockHolder(run.lock)) !== undefined) return work(installation, supervisedProcesses(run, clock, signal));
  const lock = await acquireLock(run.lock);
  try {
    await work(installation, noProcesses);
  } finally {
    await lock.release();
  }
}

function requireRole(text: string): NodeRole {
  const role = nodeRoles.find((known) => known === text);
  if (role === undefined)
    throw new MillraceError('E_INPUT', `there is no node ${text}; there are ${nodeRoles.join(', ')}`);
  return role;
}

/** Notice of what expires soon, for `millrace status`; undefined if nothing does. */
export async function expiryNotice(
  installation: Installation,
  now: number,
): Promise<{ entries: KeyEntry[]; lines: string[] }> {
  const entries = expiring(await listKeys(installation), now);
  const lines = entries.map((entry) => {
    const { kind, use, of, expires } = entry;
    const when = new Date(expires ?? 0).toISOString().slice(0, 10);
    const verb = (expires ?? 0) <= now ? 'expired on' : 'expires on';
    return `${of}: ${use} ${kind} ${verb} ${when}; \`${commandName} ${remedyOf(entry)}\``;
  });
  return { entries, lines };
}

function remedyOf({ kind, use, of }: KeyEntry): string {
  if (kind === 'certificate' && use === 'tls') return 'renew';
  return `key rotate ${use}${use === 'identity' ? ` --node ${of}` : ''}`;
}

export function toJson({ expires, ...entry }: KeyEntry): Record<string, unknown> {
  return { ...entry, expires: expires === null ? null : new Date(expires).toISOString() };
}
