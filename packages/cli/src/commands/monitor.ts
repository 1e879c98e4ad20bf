import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHex, MillraceError, sleep, toMillraceError } from '@millrace/base';
import { auditLedger, type Followed, type FollowOptions, followLog, type LogSource } from '@millrace/client';
import { createFolderStorage } from '@millrace/client/node';
import { decodeCertificate, noteTypes, parseVerifierKey, type VerifierKey } from '@millrace/ledger';
import { callPublic, logKeysOf } from '@millrace/protocol';
import { installationExists, openInstallation, readAddresses } from '../installation/open.ts';
import { format } from '../supervisor/children.ts';
import { acquireLock } from '../supervisor/lock.ts';
import { type Context, wholeNumber, withSession } from './context.ts';
import { readLogKey } from './objects.ts';

export interface MonitorOptions {
  readonly url?: string;
  readonly logKey?: readonly string[];
  readonly authority?: string;
  readonly folder?: string;
  readonly witness?: readonly string[];
  readonly witnessAuthority?: string;
  readonly certificate?: readonly string[];
  readonly account?: boolean;
  readonly every: string;
  readonly once?: boolean;
}

/** Maximum size of an entry bundle of 256 entries, rounded up. */
const MAX_TILE = 17 * 1024 * 1024;
const MAX_CHECKPOINT = 1_000_000;
const MAX_ANSWER = 64 * 1024;

/** The log to monitor, from the options or, by default, from the installation. */
interface Subject {
  readonly url: URL;
  readonly logKeys: readonly VerifierKey[];
  readonly authority: string | undefined;
  readonly folder: string;
}

/**
 * Follows a log until interrupted, or checks it once. An alarm ends the command with the alarm's code. If the log does
 * not answer, the check is retried.
 */
export async function monitor(context: Context, options: MonitorOptions): Promise<void> {
  const { terminal, signal } = context;
  const every = wholeNumber(options.every, '--every', 1, 86_400) * 1_000;
  const subject = await subjectOf(context, options);
  const follow = await followOptions(context, subject, options);
  const lock = await acquireLock(join(subject.folder, 'monitor.lock'));
  try {
    for (;;) {
      try {
        const followed = await followLog(follow);
        if (options.account === true && followed.size !== followed.before) await audit(context, followed);
        const text = lineOf(followed);
        if (options.once === true) return terminal.result({ ...followed }, text);
        terminal.say(text);
      } catch (error) {
        const coded = toMillraceError(error);
        if (options.once === true || !coded.retryable || signal.aborted) throw error;
        terminal.say(`${coded.code}: ${coded.message}`);
      }
      await sleep(every, signal);
    }
  } finally {
    await lock.release();
  }
}

function lineOf({ origin, size, root, before, witnesses, unchecked }: Followed): string {
  const from =
    before === undefined ? 'first look' : size === before ? 'unchanged' : `extends the ${before} seen before`;
  return [
    `${origin}: ${size} entries, ${from}, root ${root.slice(0, 16)}…`,
    ...(witnesses.length === 0 ? [] : [`signed by ${witnesses.join(', ')}`]),
    ...unchecked.map((why) => `not checked: ${why}`),
  ].join('; ');
}

/**
 * Audits the user's accounts, on the history of the public log: every event has its documents, every object was ordered,
 * and the map of accounts has no other newest events.
 */
async function audit(context: Context, { size, root }: Followed): Promise<void> {
  await withSession(context, 'owner', async (session) => {
    const events: string[] = [];
    const { objects, newest, absent } = await auditLedger(
      session,
      () => undefined,
      ({ index, event }) => void events.push(`  entry ${index}: ${event.type} of ${event.account} by ${event.actor}`),
      [{ size, root: fromHex(root) }],
    );
    for (const line of events) context.terminal.say(line);
    context.terminal.say(`  ${objects} objects under your licences, each with every signed document`);
    context.terminal.say(`  newest events of ${newest} accounts proven; ${absent} objects proven not to exist`);
  });
}

async function subjectOf(context: Context, options: MonitorOptions): Promise<Subject> {
  const { home, clock } = context;
  const given = await Promise.all((options.logKey ?? []).map((key) => readLogKey(context, key)));
  const authority = options.authority === undefined ? undefined : await readGivenFile(context, options.authority);
  const folder = (origin: string) =>
    context.path(options.folder ?? join('.millrace-monitor', origin.replaceAll('/', '_')));
  if (options.url !== undefined && given.length > 0) {
    const logKeys = given.map(parseVerifierKey);
    return { url: prefixOf(options.url), logKeys, authority, folder: folder(logKeys[0]?.name ?? '') };
  }
  if (!(await installationExists(home)))
    throw new MillraceError('E_INPUT', 'name the log with --url and --log-key, or the installation with --home');
  const installation = await openInstallation(home, clock);
  const { directory } = installation;
  const { ledger } = await readAddresses(installation);
  const url = options.url ?? (ledger && `https://${format(ledger)}/`);
  if (url === undefined)
    throw new MillraceError('E_INPUT', 'the installation serves no public ledger: give it a --url');
  const logKeys = (given.length > 0 ? given : logKeysOf(directory)).map(parseVerifierKey);
  return {
    url: prefixOf(url),
    logKeys,
    authority: authority ?? directory.authority,
    folder: folder(logKeys[0]?.name ?? ''),
  };
}

async function followOptions(context: Context, subject: Subject, options: MonitorOptions): Promise<FollowOptions> {
  const { url, logKeys, authority, folder } = subject;
  const { signal } = context;
  const get = async (path: string, maxBytes: number) => {
    const { status, body } = await callPublic({ url: new URL(path, url), authority, maxBytes, signal });
    if (status === 200) return body;
    throw new MillraceError('E_UNAVAILABLE', `${new URL(path, url).href}: answered ${status}`);
  };
  const source: LogSource = {
    checkpoint: () => get('checkpoint', MAX_CHECKPOINT),
    tile: (path) => get(path, MAX_TILE),
  };
  const witnessAuthority =
    options.witnessAuthority === undefined ? undefined : await readGivenFile(context, options.witnessAuthority);
  const witnesses = (options.witness ?? []).map((given) => {
    const { key, prefix } = parseWitness(given);
    const submit = new URL('add-checkpoint', prefix);
    return {
      key,
      post: (body: Uint8Array) =>
        callPublic({ url: submit, body, authority: witnessAuthority, maxBytes: MAX_ANSWER, signal }),
    };
  });
  const files = await Promise.all((options.certificate ?? []).map((file) => readBytesOf(context, file)));
  const others = files.map((bytes) => decodeCertificate(bytes).checkpoint);
  return { source, logKeys, witnesses, others, storage: createFolderStorage(folder) };
}

/** KEY@URL */
function parseWitness(given: string): { key: VerifierKey; prefix: URL } {
  const at = given.search(/@https?:\/\//);
  if (at < 0) throw new MillraceError('E_INPUT', `--witness: expected KEY@URL, not ${given}`);
  const key = parseVerifierKey(given.slice(0, at));
  if (key.type !== noteTypes.cosignature)
    throw new MillraceError('E_INPUT', `--witness: ${key.name} is not the key of a witness (type 0x04)`);
  return { key, prefix: prefixOf(given.slice(at + 1)) };
}

function prefixOf(text: string): URL {
  try {
    return new URL(text.endsWith('/') ? text : `${text}/`);
  } catch (cause) {
    throw new MillraceError('E_INPUT', `not a URL: ${text}`, { cause });
  }
}

async function readGivenFile(context: Context, file: string): Promise<string> {
  return new TextDecoder().decode(await readBytesOf(context, file));
}

async function readBytesOf(context: Context, file: string): Promise<Uint8Array> {
  try {
    return new Uint8Array(await readFile(context.path(file)));
  } catch (cause) {
    throw new MillraceError('E_INPUT', `cannot read ${context.path(file)}`, { cause });
  }
}
