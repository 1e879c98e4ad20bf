import { readFile } from 'node:fs/promises';
import { fromHex, MillraceError, parse, toHex } from '@millrace/base';
import { introduceMachine, type Session, signNew } from '@millrace/client';
import { keyName } from '@millrace/identity';
import {
  type Address,
  addressSchema,
  type DirectoryDocument,
  describeCloud,
  displayName,
  type Recognition,
  verifyDirectory,
} from '@millrace/protocol';
import { type Installation, openInstallation, openUser } from '../installation/open.ts';
import { type InstallationSession, openSession } from '../installation/session.ts';
import { formatTable } from '../output/format.ts';
import { publish, readDocument, spread } from '../rotation/publish.ts';
import { type Context, withSession } from './context.ts';
import { whileAlone } from './keys.ts';

export interface RecogniseOptions {
  /** The other administrator's key, obtained over a trusted channel. */
  readonly adminKey: string;
  readonly distribution?: string;
}

/** Recognises another cloud, or renews its recognition after it has changed its keys. */
export async function recognise(context: Context, file: string, options: RecogniseOptions): Promise<void> {
  const { clock, signal } = context;
  const other = await readOther(context.path(file), options.adminKey);
  const distribution = distributionOf(other, options.distribution);
  await whileAlone(context, async (installation, processes) => {
    if (other.installation === installation.description.installation)
      throw new MillraceError('E_INPUT', 'this is the directory of this cloud');
    const recognition = await signRecognition(installation, other, context);
    const entry: Recognition = {
      recognition,
      since: clock.now(),
      cloud: describeCloud(other),
      ...(distribution === undefined ? {} : { distribution }),
    };
    await publish(installation, clock, (document) => ({
      ...document,
      recognised: [...without(document, other.installation), entry],
    }));
    await spread(installation, processes, clock, signal);
    const { sequence } = installation.directories;
    context.terminal.result(
      { cloud: other.installation, name: other.name, directory: sequence, distribution },
      [
        `The cloud ${other.name} (${other.installation}) is recognised. Directory number ${sequence}.`,
        ...(distribution === undefined
          ? ['Its machines may visit this cloud. It has no address, so machines of this cloud cannot visit it.']
          : []),
      ].join('\n'),
    );
  });
}

/** Withdraws a recognition: no further object begins across the two clouds. */
export async function withdraw(context: Context, wanted: string): Promise<void> {
  const { clock, signal } = context;
  await whileAlone(context, async (installation, processes) => {
    const { recognised = [] } = await readDocument(installation);
    const found = recognised.find(({ cloud }) => cloud.installation === wanted || cloud.name === wanted);
    if (found === undefined) throw new MillraceError('E_NOT_FOUND', `no recognised cloud ${wanted}`);
    const { installation: id, name } = found.cloud;
    await publish(installation, clock, (document) => ({ ...document, recognised: without(document, id) }));
    await spread(installation, processes, clock, signal);
    context.terminal.result(
      { cloud: id, name, directory: installation.directories.sequence },
      `The cloud ${name} (${id}) is no longer recognised. Directory number ${installation.directories.sequence}.`,
    );
  });
}

export async function list(context: Context): Promise<void> {
  const installation = await openInstallation(context.home, context.clock);
  const document = await readDocument(installation);
  const { recognised = [] } = document;
  const own = { cloud: document.installation, name: document.name, adminKey: document.adminKey };
  const clouds = recognised.map(({ cloud, since, distribution }) => ({
    cloud: cloud.installation,
    name: cloud.name,
    adminKey: cloud.adminKey,
    since,
    distribution: distribution === undefined ? undefined : `${distribution.host}:${distribution.port}`,
  }));
  const rows = [
    [own.cloud, own.name, own.adminKey, 'this cloud'],
    ...clouds.map(({ cloud, name, adminKey, since, distribution }) => [
      cloud,
      name,
      adminKey,
      `recognised ${new Date(since).toISOString().slice(0, 10)}${distribution === undefined ? '' : `, ${distribution}`}`,
    ]),
  ];
  context.terminal.result({ own, clouds }, formatTable(['cloud', 'name', 'administrator’s key', ''], rows));
}

/** Makes a machine of another cloud known here. `at` is the home folder in which the same key is enrolled there. */
export function introduce(context: Context, machine: string, options: { readonly at: string }): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const there = await openAt(context, options.at, session);
    try {
      const id = await introduceMachine(session, there, machine);
      context.terminal.result(
        { machine: id, cloud: there.directory.installation },
        `The machine ${id} of ${there.directory.name} is known here. Licences may name it.`,
      );
    } finally {
      there.close();
    }
  });
}

/**
 * Opens a session at the other cloud with the key of this session.
 * @throws {MillraceError} E_NOT_FOUND if the key is not enrolled in that home
 */
export async function openAt(context: Context, home: string, { signer }: Session): Promise<InstallationSession> {
  const { clock, random, signal } = context;
  const installation = await openInstallation(context.path(home));
  const own = keyName(signer.publicKey);
  const entry = installation.description.users.find(({ user }) => user === own);
  if (entry === undefined)
    throw new MillraceError('E_NOT_FOUND', `the key ${own} is not enrolled in ${home}: \`millrace login --key\``);
  return openSession({ installation, user: entry.name, clock, random, signal });
}

const without = ({ recognised = [] }: DirectoryDocument, installation: string): Recognition[] =>
  recognised.filter(({ cloud }) => cloud.installation !== installation);

/** The other cloud's directory, verified with its administrator's key. @throws {MillraceError} E_CONFIG, E_DIRECTORY */
async function readOther(path: string, adminKey: string): Promise<DirectoryDocument> {
  let json: { directory?: { installation?: unknown } };
  try {
    json = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  }
  return verifyDirectory(json, { installation: String(json.directory?.installation), adminKey });
}

function distributionOf({ nodes }: DirectoryDocument, text: string | undefined): Address | undefined {
  if (text === undefined) return nodes.find(({ role }) => role === 'distribution')?.addresses[0];
  const match = /^(.+):(\d{1,5})$/.exec(text);
  const parsed = addressSchema.safeParse({ host: match?.[1], port: Number(match?.[2]) });
  if (!parsed.success) throw new MillraceError('E_INPUT', '--distribution: expected HOST:PORT');
  return parsed.data;
}

async function signRecognition(
  installation: Installation,
  { installation: cloud, name, adminKey }: DirectoryDocument,
  { clock, random }: Context,
): Promise<string> {
  const admin = await openUser(installation, 'admin');
  try {
    const { signer } = admin;
    const shown = parse(displayName, name, 'name of the other cloud');
    const body = { type: 'cloud.recognise', cloud, name: shown, adminKey: fromHex(adminKey) } as const;
    const signing = { directory: installation.directory, signer, clock, random };
    return toHex((await signNew(signing, body)).bytes);
  } finally {
    admin.close();
  }
}
