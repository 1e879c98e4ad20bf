import { open, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type Clock, MillraceError } from '@millrace/base';
import type { Cassandra, CassandraModules, CassandraOptions, EngineTls, Login } from '@millrace/cluster';
import { readSettings } from '../config.ts';
import type { ClusterSettings } from '../settings.ts';
import { placeOf, requireKeyspace, requireNoKeyspace, writeKeyspace } from './keyspace.ts';
import { requireNoMigration } from './migration.ts';

const MAX_PASSWORD_BYTES = 1_024;

/** Options that are not in the settings. */
type MoreOptions = Pick<CassandraOptions, 'guard' | 'patienceMs' | 'requestMs'>;
type ClusterModules = CassandraModules & { readonly clock: Clock };

/**
 * Opens the cluster of a node. Call it before the node opens files of its own.
 * @param folder the node's folder; names of files are relative to it
 * @param more in addition to the settings
 * @throws {MillraceError} E_CONFIG, also if the folder or another keyspace holds the node's state
 * @throws {MillraceError} E_STATE while the state is being moved; E_UNAVAILABLE, E_TIMEOUT
 */
export async function openNodeCluster(
  folder: string,
  settings: ClusterSettings,
  modules: ClusterModules,
  more: MoreOptions = {},
): Promise<Cassandra> {
  await requireNoMigration(folder);
  const place = placeOf(settings);
  await requireKeyspace(folder, place);
  const cassandra = await connectCluster(folder, settings, modules, more);
  try {
    await writeKeyspace(folder, place);
    return cassandra;
  } catch (error) {
    await cassandra.close();
    throw error;
  }
}

/**
 * Connects to a cluster. The driver is loaded only then.
 * @param folder names of files are relative to it
 * @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT
 */
export async function connectCluster(
  folder: string,
  settings: ClusterSettings,
  modules: ClusterModules,
  more: MoreOptions = {},
): Promise<Cassandra> {
  const { contactPoints, localDataCenter, keyspace, login, tls, copies } = settings;
  const options: CassandraOptions = {
    ...{ contactPoints, localDataCenter, keyspace },
    ...more,
    ...(copies !== undefined && { copies }),
    ...(await readAccess(folder, { login, tls })),
  };
  const { openCassandra } = await import('@millrace/cluster');
  return openCassandra(options, modules);
}

/**
 * Called before a node, or a command that works on the files of a stopped node, opens those files.
 * @throws {MillraceError} E_CONFIG if the node's state is in a cluster, also if its settings no longer say so
 * @throws {MillraceError} E_STATE while the state is being moved
 */
export async function requireFiles(folder: string): Promise<void> {
  await requireNoMigration(folder);
  const settings = await readSettings(folder).catch(() => undefined); // a folder without settings has no cluster
  if (settings?.cluster === undefined) return requireNoKeyspace(folder);
  throw new MillraceError(
    'E_CONFIG',
    `the state of ${folder} is in a cluster, not in files: this command cannot use it`,
  );
}

/**
 * Login and certificates of an engine, from the files that the settings name.
 * @throws {MillraceError} E_CONFIG
 */
export async function readAccess(
  folder: string,
  { login, tls }: Pick<ClusterSettings, 'login' | 'tls'>,
): Promise<{ login?: Login; tls?: EngineTls }> {
  const text = async (file: string): Promise<string> => {
    const path = resolve(folder, file);
    return readFile(path, 'utf8').catch((cause: unknown) => {
      throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
    });
  };
  return {
    ...(login && { login: { user: login.user, password: await readPassword(resolve(folder, login.passwordFile)) } }),
    ...(tls && {
      tls: {
        ca: await text(tls.authority),
        ...(tls.certificate !== undefined && { certificate: await text(tls.certificate) }),
        ...(tls.key !== undefined && { key: await text(tls.key) }),
        ...(tls.serverName !== undefined && { serverName: tls.serverName }),
      },
    }),
  };
}

/** The driver takes the password as text only. */
async function readPassword(path: string): Promise<string> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  });
  try {
    const { mode, size } = await file.stat();
    if ((mode & 0o077) !== 0)
      throw new MillraceError('E_CONFIG', `others may read the password in ${path}: run chmod 600 ${path}`);
    if (size > MAX_PASSWORD_BYTES) throw new MillraceError('E_CONFIG', `${path} is no password: expected one line`);
    const [line = '', ...more] = (await file.readFile('utf8')).split(/\r?\n/);
    if (line === '' || more.some((each) => each !== ''))
      throw new MillraceError('E_CONFIG', `${path} is no password: expected one line`);
    return line;
  } finally {
    await file.close();
  }
}
