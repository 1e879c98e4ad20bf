import { readFile } from 'node:fs/promises';
import { MillraceError, toHex } from '@millrace/base';
import type { OwnerState } from '@millrace/protocol';
import type { ObjectView } from '../client/answers.ts';
import { type CertificateSummary, checkCertificate } from '../client/certificates.ts';
import { openLive, openReport } from '../client/owner-view.ts';
import { pick, type Session } from '../client/session.ts';
import type { Description } from '../installation/description.ts';
import { hasSystemCode, replaceFile } from '../installation/files.ts';
import { installationExists, openInstallation } from '../installation/open.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields, formatTable } from '../output/format.ts';
import { type Context, withSession } from './context.ts';
import { placeOf } from './print.ts';

export function show(context: Context, object: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const view = await session.api.object(object);
    const nameOf = namer(session.installation.description);
    const live = await liveOf(session, object);
    const events: (ObjectView['events'][number] & { readonly own: OwnerState | undefined })[] = [];
    for (const { report, ...event } of view.events) {
      events.push({ ...event, own: await openReport(session, object, { ...event, report }) });
    }
    const rows = events.map((event) => [
      String(event.index),
      event.type,
      new Date(event.time).toISOString(),
      nameOf(event.actor),
      [factsOf(event.body), ...placeOf(event.own)].join(' '),
    ]);
    context.terminal.result(
      { ...view, events, live },
      [
        `Object ${view.object}: ${view.state}`,
        ...(live === undefined ? [] : [placeOf(live).join('  ')]),
        ...(view.design === undefined ? [] : [`design ${view.design}`]),
        formatTable(['entry', 'event', 'time', 'actor', 'facts'], rows),
      ].join('\n'),
    );
  });
}

/** Where the machine is, while it makes the object: as it tells the owner. */
async function liveOf(session: Session, object: string): Promise<OwnerState | undefined> {
  const print = (await session.api.prints()).find((view) => view.object === object);
  return print && (await openLive(session, print));
}

export function list(context: Context): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const objects = await session.api.objects();
    const last = (view: ObjectView) => view.events.at(-1)?.time ?? 0;
    context.terminal.result(
      { objects },
      objects.length === 0
        ? 'No objects yet.'
        : formatTable(
            ['object', 'state', 'design', 'last event'],
            objects.map((view) => [
              view.object,
              view.state,
              view.design ?? '-',
              last(view) === 0 ? '-' : new Date(last(view)).toISOString(),
            ]),
          ),
    );
  });
}

export function machines(context: Context): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const views = await session.api.machines();
    const nameOf = namer(session.installation.description);
    context.terminal.result(
      { machines: views.map((view) => ({ name: nameOf(view.machine), ...view })) },
      formatTable(
        ['name', 'machine', 'serial', 'kind', 'factor', 'online'],
        views.map((view) => [
          nameOf(view.machine),
          view.machine,
          view.serial,
          view.kind,
          String(view.profile.factor),
          view.online ? 'yes' : 'no',
        ]),
      ),
    );
  });
}

export function exportCertificate(context: Context, object: string, options: { out?: string }): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { terminal } = context;
    const { logKey } = session.directory;
    const { object: id } = pick('object', object, await session.api.objects(), (view) => [view.object]);
    const bytes = await session.api.certificate(id);
    const summary = await checkCertificate(bytes, logKey);
    const file = context.path(options.out ?? `${id}.certificate`);
    try {
      await replaceFile(file, bytes, 0o644);
    } catch (cause) {
      throw new MillraceError('E_INPUT', `cannot write ${file}`, { cause });
    }
    terminal.result(
      { file, bytes: bytes.length, logKey, ...summary },
      [
        `Wrote ${file} (${bytes.length} bytes)`,
        formatCertificate(summary),
        'Whoever has it verifies it without any server:',
        `  ${commandName} certificate verify ${JSON.stringify(file)} --log-key ${logKey}`,
      ].join('\n'),
    );
  });
}

export async function verifyCertificateFile(
  context: Context,
  file: string,
  options: { logKey?: string },
): Promise<void> {
  const logKey = await logKeyOf(context, options.logKey);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(context.path(file));
  } catch (cause) {
    const code = hasSystemCode(cause, 'ENOENT') ? 'E_NOT_FOUND' : 'E_INPUT';
    throw new MillraceError(code, `cannot read ${context.path(file)}`, { cause });
  }
  const summary = await checkCertificate(bytes, logKey);
  context.terminal.result({ valid: true, ...summary }, `The certificate is genuine.\n${formatCertificate(summary)}`);
}

/** From --log-key (the key itself, or a file that holds it), or from the installation. */
async function logKeyOf(context: Context, given: string | undefined): Promise<string> {
  if (given === undefined) {
    if (!(await installationExists(context.home))) {
      throw new MillraceError(
        'E_INPUT',
        'say which log to trust with --log-key, or where the installation is with --home',
      );
    }
    return (await openInstallation(context.home)).directory.logKey;
  }
  if (given.includes('+')) return given;
  try {
    return (await readFile(context.path(given), 'utf8')).trim();
  } catch (cause) {
    throw new MillraceError('E_INPUT', `--log-key: neither a key (name+hash+key) nor a readable file: ${given}`, {
      cause,
    });
  }
}

export function formatCertificate(summary: CertificateSummary): string {
  return formatFields(
    [
      ['object', summary.object],
      ['state', summary.state],
      ['design', summary.design],
      ['events', summary.events.map(({ type }) => type).join(', ')],
      ['signatures', `${summary.signatures} verified`],
      ['log', `${summary.log}, ${summary.size} entries`],
    ],
    '  ',
  );
}

/** Names of users and machines for their keys. */
function namer({ users, machines }: Description): (key: string) => string {
  const names = new Map<string, string>([
    ...users.map(({ user, name }) => [user, name] as const),
    ...machines.map(({ registration, name }) => [registration.machine, name] as const),
  ]);
  return (key) => names.get(key) ?? key;
}

function factsOf(body: Readonly<Record<string, unknown>>): string {
  return Object.entries(body)
    .map(([key, value]) => `${key}=${value instanceof Uint8Array ? toHex(value) : String(value)}`)
    .join(' ');
}
