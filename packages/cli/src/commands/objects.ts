import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, fromHex, MillraceError, toHex, utf8, writeDurably } from '@millrace/base';
import {
  type CertificateSummary,
  type CertificateTrust,
  type Contacts,
  certificatePage,
  certificateProofs,
  checkCertificate,
  createNames,
  isCertificatePage,
  labelSvg,
  labelText,
  type Names,
  nextStep,
  type ObjectView,
  openLive,
  openReport,
  pick,
  readCertificatePage,
  requireLabel,
  type Session,
  trustOf,
} from '@millrace/client';
import { drawCertificateLabel, hasSystemCode, readPageScript } from '@millrace/client/node';
import { logKeysOf, type OwnerState } from '@millrace/protocol';
import { installationExists, openInstallation } from '../installation/open.ts';
import { commandName } from '../output/command-name.ts';
import { formatFields, formatTable } from '../output/format.ts';
import { type Context, wholeNumber, withSession } from './context.ts';
import { placeOf } from './print.ts';

export function show(context: Context, object: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const view = await session.api.object(object);
    const names = createNames(session);
    const live = await liveOf(session, object);
    const events: (ObjectView['events'][number] & { readonly own: OwnerState | undefined })[] = [];
    for (const { report, ...event } of view.events) {
      events.push({ ...event, own: await openReport(session, object, { ...event, report }) });
    }
    const actors = await Promise.all(events.map(({ actor }) => names.key(actor)));
    const rows = events.map((event, i) => [
      String(event.index),
      event.type,
      new Date(event.time).toISOString(),
      actors[i] ?? event.actor,
      [factsOf(event.body), ...placeOf(event.own)].join(' '),
    ]);
    context.terminal.result(
      { ...view, events, live },
      [
        `Object ${view.object}: ${view.state}`,
        ...(live === undefined ? [] : [placeOf(live).join('  ')]),
        ...(view.design === undefined ? [] : [`design ${view.design}`]),
        ...(await lifeOf(view, names)),
        ...nextOf(view).map((step) => `next: ${step}`),
        formatTable(['entry', 'event', 'time', 'actor', 'facts'], rows),
      ].join('\n'),
    );
  });
}

/** The part's present owner, and an offer that waits. */
async function lifeOf({ state, life }: ObjectView, names: Names): Promise<string[]> {
  if (state !== 'completed' && state !== 'retired') return [];
  const { owner, offer, inspectors } = life;
  return [
    `owner of the part: ${await names.party(owner)}`,
    ...(offer === undefined ? [] : [`offered to: ${await names.party(offer.to)}`]),
    ...(inspectors.length === 0 ? [] : [`inspectors: ${(await Promise.all(inspectors.map(names.party))).join(', ')}`]),
  ];
}

/** Next steps after a failure, and who must take them. */
function nextOf({ state, events }: ObjectView): string[] {
  if (state !== 'failed' && state !== 'alarmed') return [];
  const code = events.findLast(({ body }) => typeof body.code === 'string')?.body.code;
  return typeof code === 'string' ? [nextStep(code)] : [];
}

/** Position of the machine while it makes the object, as reported to the owner. */
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
    const nameOf = namer(session.contacts);
    const names = createNames(session);
    const holders = await Promise.all(
      views.map(({ organisation }) => (organisation === undefined ? undefined : names.party(organisation))),
    );
    context.terminal.result(
      { machines: views.map((view) => ({ name: nameOf(view.machine), ...view })) },
      formatTable(
        ['name', 'machine', 'serial', 'kind', 'factor', 'key', 'online', 'cloud', 'held by'],
        views.map((view, i) => [
          nameOf(view.machine),
          view.machine,
          view.serial,
          view.kind,
          String(view.profile.factor),
          view.token === undefined ? 'file' : view.token.hardware ? 'hardware token' : 'software token',
          view.online ? 'yes' : 'no',
          view.cloud ?? 'this',
          holders[i] ?? '-',
        ]),
      ),
    );
  });
}

export interface ExportOptions {
  readonly out?: string;
  readonly html?: string | boolean;
  readonly label?: string | boolean;
  readonly labelPdf?: string | boolean;
  readonly proofs?: string;
  readonly witness?: readonly string[];
}

export function exportCertificate(context: Context, object: string, options: ExportOptions): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { terminal } = context;
    const { object: id } = pick('object', object, await session.api.objects(), (view) => [view.object]);
    const bytes = await session.api.certificate(id);
    const { adminKey } = session.directory;
    const logKeys = logKeysOf(session.directory);
    const [logKey = ''] = logKeys;
    const summary = await checkCertificate(bytes, trustOf(session));
    const write = async (
      given: string | boolean | undefined,
      ending: string,
      content: () => Promise<Bytes> | Bytes,
    ) => {
      if (given === undefined || given === false) return undefined;
      const path = context.path(given === true ? `${id}.${ending}` : given);
      await writeResult(path, await content());
      return path;
    };
    const file = await write(options.out ?? true, 'certificate', () => bytes);
    const code = labelText(id, bytes);
    const witnesses = await Promise.all((options.witness ?? []).map((given) => readLogKey(context, given)));
    const html = await write(options.html, 'html', async () =>
      utf8(
        certificatePage({
          certificate: bytes,
          trust: { logKeys, authority: adminKey, witnesses },
          script: await readPageScript(),
          title: `Certificate of ${id}`,
          code: labelSvg(code),
        }),
      ),
    );
    const label = await write(options.label, 'png', () => drawCertificateLabel(summary, bytes));
    const pdf = await write(options.labelPdf, 'pdf', () => drawCertificateLabel(summary, bytes, 'pdf'));
    const proofs = options.proofs === undefined ? [] : certificateProofs(bytes);
    const folder = context.path(options.proofs ?? '.');
    for (const { name, content } of proofs) await writeResult(join(folder, name), content);
    terminal.result(
      { file, html, label, pdf, code, bytes: bytes.length, logKey, authority: adminKey, ...summary },
      [
        `Wrote ${file} (${bytes.length} bytes)`,
        ...(html === undefined ? [] : [`Wrote ${html}: a page that verifies itself`]),
        ...[label, pdf].flatMap((path) => (path === undefined ? [] : [`Wrote ${path}: a label for the part`])),
        ...(proofs.length === 0 ? [] : [`Wrote ${proofs.length} files to ${folder}: proofs for other programs`]),
        formatCertificate(summary),
        'Anyone who knows the key of the owner or the administrator can verify it offline:',
        `  ${commandName} certificate verify ${JSON.stringify(file)} --log-key ${logKey} --owner ${summary.owner.key}`,
        `  ${commandName} certificate verify ${JSON.stringify(file)} --log-key ${logKey} --authority ${adminKey}`,
      ].join('\n'),
    );
  });
}

async function writeResult(file: string, bytes: Bytes): Promise<void> {
  try {
    await writeDurably(file, bytes, 0o644);
  } catch (cause) {
    throw new MillraceError('E_INPUT', `cannot write ${file}`, { cause });
  }
}

export async function verifyCertificateFile(context: Context, file: string, options: TrustOptions): Promise<void> {
  const { quorum, label } = options;
  const witnesses = await Promise.all((options.witness ?? []).map((given) => readLogKey(context, given)));
  const needed = quorum === undefined ? 0 : wholeNumber(quorum, '--quorum', 0, witnesses.length);
  const trust = { ...(await trustGiven(context, options)), witnesses, quorum: needed };
  let bytes: Uint8Array;
  try {
    bytes = await readFile(context.path(file));
  } catch (cause) {
    const code = hasSystemCode(cause, 'ENOENT') ? 'E_NOT_FOUND' : 'E_INPUT';
    throw new MillraceError(code, `cannot read ${context.path(file)}`, { cause });
  }
  // Use only the certificate in a page; its keys and text come from the author of the page.
  if (isCertificatePage(bytes)) bytes = readCertificatePage(bytes).certificate;
  const summary = await checkCertificate(bytes, trust);
  if (label !== undefined) requireLabel(label, summary.object, bytes);
  const { retired } = summary.life;
  const headline = summary.made
    ? `The certificate is genuine: the object was made as its owner licensed it${retired === undefined ? '' : `, and is retired: ${retired.reason}`}.`
    : `The certificate is genuine, but the object is not completed: ${summary.state}.`;
  context.terminal.result({ valid: true, ...summary }, `${headline}\n${formatCertificate(summary)}`);
}

export interface TrustOptions {
  readonly logKey?: string;
  readonly owner?: string;
  readonly authority?: string;
  readonly witness?: readonly string[];
  readonly quorum?: string;
  readonly label?: string;
}

/**
 * Trusted keys from the options, with defaults from the installation: its log and, if no other signer is named and the
 * log is the installation's, its administrator. Never from the certificate.
 */
export async function trustGiven(context: Context, options: TrustOptions): Promise<CertificateTrust> {
  const own = (await installationExists(context.home)) ? trustOf(await openInstallation(context.home)) : undefined;
  const logKey = options.logKey === undefined ? own?.logKey : await readLogKey(context, options.logKey);
  if (logKey === undefined) {
    const remedy = 'name the log to trust with --log-key, or the installation with --home';
    throw new MillraceError('E_INPUT', remedy);
  }
  const owner = options.owner === undefined ? undefined : await readUserKey(context, '--owner', options.owner);
  if (options.authority !== undefined)
    return { logKey, owner, authority: await readUserKey(context, '--authority', options.authority) };
  const ownKeys = [own?.logKey ?? []].flat();
  if (own !== undefined && [logKey].flat().every((key) => ownKeys.includes(key)))
    return { logKey, owner, authority: own.authority };
  if (owner === undefined) {
    const remedy = 'name the key to trust with --owner (the owner of the design) or --authority (the administrator)';
    throw new MillraceError('E_INPUT', remedy);
  }
  return { logKey, owner };
}

/** A verifier key, or a file that contains one. @throws {MillraceError} E_INPUT */
export async function readLogKey(context: Context, given: string): Promise<string> {
  if (given.includes('+')) return given;
  return (await readGiven(context, '--log-key', given, 'a key (name+hash+key)')).trim();
}

/** A compressed secp256k1 point in hexadecimal, or a file that contains one. */
async function readUserKey(context: Context, option: string, given: string): Promise<Bytes> {
  const isKey = (text: string) => /^0[23][0-9a-f]{64}$/i.test(text);
  if (isKey(given)) return fromHex(given.toLowerCase());
  const text = (await readGiven(context, option, given, 'a key (66 hexadecimal digits)')).trim();
  if (!isKey(text))
    throw new MillraceError('E_INPUT', `${option}: ${given} does not hold a key of 66 hexadecimal digits`);
  return fromHex(text.toLowerCase());
}

async function readGiven(context: Context, option: string, given: string, what: string): Promise<string> {
  try {
    return await readFile(context.path(given), 'utf8');
  } catch (cause) {
    throw new MillraceError('E_INPUT', `${option}: neither ${what} nor a readable file: ${given}`, { cause });
  }
}

export function formatCertificate(summary: CertificateSummary): string {
  const fields = formatFields(
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
  const list = (title: string, lines: readonly string[]) => [title, ...lines.map((line) => `  - ${line}`)];
  return [fields, ...list('Checked:', summary.checked), ...list('Not checked:', summary.unchecked)].join('\n');
}

/** Maps keys to names of users and machines. */
function namer({ users, machines }: Contacts): (key: string) => string {
  const names = new Map<string, string>([
    ...users.map(({ user, name }) => [user, name] as const),
    ...machines.map(({ machine, name }) => [machine, name] as const),
  ]);
  return (key) => names.get(key) ?? key;
}

function factsOf(body: Readonly<Record<string, unknown>>): string {
  return Object.entries(body)
    .map(([key, value]) => `${key}=${value instanceof Uint8Array ? toHex(value) : String(value)}`)
    .join(' ');
}
