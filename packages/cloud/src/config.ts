import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Bytes, type Clock, MillraceError, parse, systemClock } from '@millrace/base';
import { type P256Key, p256Key, type TlsIdentity } from '@millrace/identity';
import {
  type Address,
  type Addresses,
  type BoxUse,
  type Directory,
  type DirectoryFile,
  directoryFiles,
  type NodeRole,
  nodeOf,
  nodesOf,
  openDirectory,
} from '@millrace/protocol';
import type { z } from 'zod';
import type { BoxPeriod } from './node/own-boxes.ts';
import {
  type BrowsersSettings,
  type ClusterSettings,
  type ConsoleSettings,
  DEFAULT_BOXES,
  DEFAULT_CHECKS,
  DEFAULT_LEDGER,
  DEFAULT_MAINTENANCE,
  DEFAULT_STAGING,
  DEFAULT_WEBHOOKS,
  type LedgerSettings,
  type MaintenanceSettings,
  type StagingSettings,
  settingsSchema,
  type WebhookSettings,
  type WitnessSettings,
} from './settings.ts';

/** Contents of a node's folder; written by `millrace init`, read by the node when it starts. */
export const nodeFiles = {
  settings: 'node.json',
  /** The directory as the administrator signed it. */
  directory: directoryFiles.directory,
  certificate: 'tls.crt.pem',
  tlsKey: 'tls.key.pem',
  /** 32 bytes, P-256: the node's identity. */
  identity: 'identity.key',
  /** Control only: 32 bytes, P-256, signs permits. */
  permitKey: 'permit.key',
  /** Control only: the administrator's signed statement of the permit key; public. */
  permitKeyDocument: 'permit-key.register',
  /** Control only: the certificate authority of users, PEM, and its key. It can certify only users. */
  userAuthority: 'users.crt.pem',
  userAuthorityKey: 'users.key.pem',
  /** Control only: 32 bytes, Ed25519 seed, signs checkpoints. */
  logKey: 'log.key',
  /** Control only: the previous log key, which also signs checkpoints while the directory lists it. */
  formerLogKey: 'log.former.key',
  /** Keys node only: 32 bytes, wraps every key at rest. */
  kek: 'kek.key',
  /** Keys node only: version of the group of replicas that this one has seen. */
  replicas: 'replicas.json',
  /** Keys node only: request of a further replica, and the key to which the node's keys are sealed for it. */
  replicaRequest: 'replica-request.json',
  replicaKey: 'replica.key',
  /** The node's request to be admitted, if its keys were made on this host. */
  request: 'node-request.json',
  data: 'data',
  /** Not distribution: name of the keyspace that holds their state. Missing while `data` holds it. */
  keyspace: 'keyspace',
  /** Not distribution: where the state is being moved, while `millrace migrate` has not completed. */
  migration: 'migration.json',
  /**
   * In `data`: slots of the keys that mail and attachments are sealed to. Not in backups; a restored node makes new
   * keys.
   */
  boxes: { mail: 'mail.boxes', attachments: 'attachments.boxes' },
  /** Segments node only, in `data`: contents of the cells. The store in the same folder has their index. */
  cells: 'cells.bin',
} as const;

export interface NodeConfig {
  readonly role: NodeRole;
  /** The node's id in the directory. */
  readonly id: string;
  readonly folder: string;
  /** Always holds the newest directory. */
  readonly directory: Directory;
  /** The directory's file, which is read again when it changes. */
  readonly directories?: DirectoryFile;
  readonly tls: TlsIdentity;
  readonly identity: P256Key;
  readonly maintenance: MaintenanceSettings & { readonly density: number };
  readonly boxes: { readonly [use in BoxUse]: BoxPeriod };
  readonly chaffPercent: number;
  readonly checks: { readonly everyMs: number; readonly deepEveryMs: number; readonly afterStartMs: number };
  readonly staging: StagingSettings;
  readonly ledger: Omit<LedgerSettings, 'witnesses'> & { readonly witnesses: readonly WitnessSettings[] };
  readonly browsers: BrowsersSettings;
  readonly console: ConsoleSettings;
  readonly webhooks: WebhookSettings;
  /** Not distribution: where their state is, if it is not in their folder. */
  readonly cluster?: ClusterSettings | undefined;
  /** Keys node with several replicas: name of this one, if it is not the first. */
  readonly replica?: string | undefined;
  /** Where the process listens, if not at the node's first address in the directory. */
  readonly listen?: Address | undefined;
  /** Reads another secret of the folder, 32 bytes; the caller wipes it. */
  secret(name: 'permitKey' | 'logKey' | 'formerLogKey' | 'kek' | 'userAuthorityKey'): Promise<Bytes>;
}

/**
 * @throws {MillraceError} E_CONFIG naming the file that is missing or wrong
 * @throws {MillraceError} E_DIRECTORY, also when the directory does not name this node
 */
export async function loadNodeConfig(folder: string, clock: Clock = systemClock): Promise<NodeConfig> {
  const read = async (name: Exclude<keyof typeof nodeFiles, 'boxes'>): Promise<Bytes> => {
    const path = join(folder, nodeFiles[name]);
    try {
      return new Uint8Array(await readFile(path));
    } catch (cause) {
      throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
    }
  };
  const settings = await readSettings(folder);
  const { installation, adminKey } = settings;
  const directories = await openDirectory({
    path: join(folder, nodeFiles.directory),
    folder,
    anchor: { installation, adminKey },
    clock,
  });
  const { id, role } = settings;
  if (!nodesOf(directories.directory, id).some((node) => node.role === role))
    throw new MillraceError('E_DIRECTORY', `the directory names no ${role} node ${id}`);
  if (role !== 'control' && settings.cluster?.kafka !== undefined)
    throw new MillraceError('E_CONFIG', `${nodeFiles.settings}: cluster.kafka: only control nodes keep mail`);
  const identity = await read('identity');
  try {
    return {
      role,
      id,
      folder,
      directory: directories.directory,
      directories,
      tls: { certificate: new TextDecoder().decode(await read('certificate')), key: await read('tlsKey') },
      identity: p256Key(identity),
      maintenance: settings.maintenance ?? DEFAULT_MAINTENANCE,
      boxes: {
        mail: settings.boxes?.mail ?? DEFAULT_BOXES.mail,
        attachments: settings.boxes?.attachments ?? DEFAULT_BOXES.attachments,
      },
      chaffPercent: settings.chaffPercent ?? 0,
      checks: settings.checks ?? DEFAULT_CHECKS,
      staging: settings.staging ?? DEFAULT_STAGING,
      ledger: await readLedgerSettings(folder, settings.ledger ?? DEFAULT_LEDGER),
      browsers: withPaths(folder, settings.browsers ?? {}),
      console: withPaths(folder, settings.console ?? {}),
      webhooks: await readWebhookSettings(folder, settings.webhooks ?? DEFAULT_WEBHOOKS),
      cluster: settings.cluster,
      replica: settings.replica,
      listen: settings.listen,
      secret: read,
    };
  } finally {
    identity.fill(0);
  }
}

/**
 * The addresses that a node uses when nobody else states them: those of the directory. It listens at the address of its
 * settings, if they name one.
 * @throws {MillraceError} E_CONFIG if the directory lists no address of control or distribution
 */
export function addressesInDirectory({ directory, id, role, listen }: NodeConfig): Addresses {
  const addressFor = (passive: 'control' | 'distribution') => {
    const [address] = nodeOf(directory, passive === role ? id : passive).addresses;
    if (address === undefined) throw new MillraceError('E_CONFIG', `the directory lists no address of ${passive}`);
    return passive === role ? (listen ?? address) : address;
  };
  return { control: addressFor('control'), distribution: addressFor('distribution') };
}

/** `node.json` of a node's folder. @throws {MillraceError} E_CONFIG */
export async function readSettings(folder: string): Promise<z.output<typeof settingsSchema>> {
  const path = join(folder, nodeFiles.settings);
  let json: unknown;
  try {
    json = JSON.parse(await readText(path));
  } catch (cause) {
    if (cause instanceof MillraceError) throw cause;
    throw new MillraceError('E_CONFIG', `${path} is not JSON`, { cause });
  }
  return parse(settingsSchema, json, nodeFiles.settings, 'E_CONFIG');
}

/** Resolves file names relative to the node's folder. */
async function readLedgerSettings(folder: string, settings: LedgerSettings): Promise<NodeConfig['ledger']> {
  const witnesses: WitnessSettings[] = [];
  for (const { authority, ...witness } of settings.witnesses) {
    const pem = authority === undefined ? undefined : await readText(resolve(folder, authority));
    witnesses.push({ ...witness, authority: pem });
  }
  return { ...withPaths(folder, settings), witnesses };
}

async function readWebhookSettings(folder: string, settings: WebhookSettings): Promise<WebhookSettings> {
  const { authority } = settings;
  return authority === undefined ? settings : { ...settings, authority: await readText(resolve(folder, authority)) };
}

interface WithTlsFiles {
  readonly tls?: { readonly certificate: string; readonly key: string } | undefined;
}

function withPaths<S extends WithTlsFiles>(folder: string, settings: S): S {
  const { tls } = settings;
  if (tls === undefined) return settings;
  return { ...settings, tls: { certificate: resolve(folder, tls.certificate), key: resolve(folder, tls.key) } };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new MillraceError('E_CONFIG', `cannot read ${path}`, { cause });
  }
}
