import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError, toMillraceError, writeDurably } from '@millrace/base';
import { readJson, toJsonFile } from '@millrace/client/node';
import {
  acceptAdmission,
  acceptReplica,
  isReplicaGrant,
  parseClusterSettings,
  requestNode,
} from '@millrace/cloud/admin';
import {
  type Address,
  type DirectoryNode,
  nodeRoles,
  parseHostPort,
  parseNodeAdmission,
  requestFingerprint,
} from '@millrace/protocol';
import { layoutOf } from '../installation/layout.ts';
import { openInstallation } from '../installation/open.ts';
import { admitNodes, listNodes, retireNode } from '../nodes/admit.ts';
import { runNode } from '../nodes/run.ts';
import { commandName } from '../output/command-name.ts';
import { formatTable } from '../output/format.ts';
import { nodePlaces } from '../rotation/places.ts';
import { publishToNodes } from '../rotation/publish.ts';
import { format } from '../supervisor/children.ts';
import { type Context, oneOf } from './context.ts';
import { requestReplicaOf } from './replicas.ts';

export interface CreateNodeOptions {
  readonly role: string;
  readonly id: string;
  readonly installation: string;
  readonly adminKey: string;
  readonly out: string;
  readonly address?: readonly string[];
  readonly listen?: string;
  readonly ledger?: string;
  readonly console?: string;
  readonly cluster?: string;
  readonly join?: boolean;
  readonly replicaOf?: string;
}

/** Makes a node's keys on its host, and the request for the administrator. */
export async function create(context: Context, options: CreateNodeOptions): Promise<void> {
  const { terminal, home, random, clock } = context;
  const { installation, adminKey, id } = options;
  const role = oneOf('--role', options.role, nodeRoles);
  if (options.replicaOf !== undefined) {
    if (role !== 'keys') throw new MillraceError('E_INPUT', '--replica-of: only keys nodes have replicas');
    return requestReplicaOf(context, { ...options, replicaOf: options.replicaOf });
  }
  const passive = role === 'control' || role === 'distribution';
  const addresses = (options.address ?? []).map((text) => addressOption('--address', text));
  if (passive !== addresses.length > 0)
    throw new MillraceError('E_INPUT', `--address: ${role} nodes ${passive ? 'have an address' : 'open no port'}`);
  if (!passive && options.listen !== undefined)
    throw new MillraceError('E_INPUT', `--listen: ${role} nodes open no port`);
  if (role !== 'control' && (options.ledger ?? options.console) !== undefined)
    throw new MillraceError('E_INPUT', '--ledger and --console are served by control nodes');
  if (role !== 'control' && options.join === true)
    throw new MillraceError('E_INPUT', '--join: only control nodes share keys with others of their role');
  const given = (option: 'listen' | 'ledger' | 'console') => {
    const text = options[option];
    return text === undefined ? {} : { [option]: addressOption(`--${option}`, text) };
  };
  const listeners = { ...given('listen'), ...given('ledger'), ...given('console') };
  const cluster = await clusterOption(context, role, options.cluster);
  const signed = await requestNode(
    home,
    { installation, adminKey, role, id, addresses },
    { listeners, cluster, random, now: clock.now(), joins: options.join },
  );
  const out = context.path(options.out);
  await writeDurably(out, toJsonFile(signed), 0o644);
  const fingerprint = requestFingerprint(signed.request);
  terminal.result(
    { id, role, request: out, fingerprint },
    [
      `The keys of ${id} are in ${home}. Its request is in ${out}.`,
      `Fingerprint: ${fingerprint}`,
      'Send the request to the administrator, and the fingerprint over another channel.',
    ].join('\n'),
  );
}

export interface AdmitNodeOptions {
  readonly fingerprint: readonly string[];
  readonly replaces?: string;
  readonly sharedCells?: boolean;
  readonly out?: string;
}

/** Admits nodes into the signed directory. */
export async function admit(context: Context, files: readonly string[], options: AdmitNodeOptions): Promise<void> {
  const { home, clock, random, terminal } = context;
  const { fingerprint, replaces, sharedCells } = options;
  const requests = await Promise.all(files.flat().map((file) => readJson(context.path(file))));
  requireNoneHere(context);
  const { sequence, retired, nodes } = await admitNodes({
    ...{ home, requests, clock, random },
    fingerprints: fingerprint.map((text) => text.toLowerCase()),
    replaces,
    sharedCells,
  });
  const written: { id: string; role: string; admission: string }[] = [];
  for (const { id, role, file } of nodes) {
    if (options.out === undefined) {
      written.push({ id, role, admission: file });
      continue;
    }
    const folder = context.path(options.out);
    await mkdir(folder, { recursive: true });
    const copy = join(folder, `${id}.admission`);
    await copyFile(file, copy);
    written.push({ id, role, admission: copy });
  }
  // Nothing runs before the first admission.
  const published = await given(context, retired);
  terminal.result(
    { directory: sequence, nodes: written, published },
    [
      `Directory number ${sequence} names:`,
      ...written.map(({ id, role, admission }) => `  ${id} (${role}): ${admission}`),
      `On the node’s host: \`${commandName} node run --home FOLDER --admission FILE\`.`,
      ...unpublished(published),
    ].join('\n'),
  );
}

/** Removes a node from the directory: from then on nobody accepts its keys. */
export async function retire(context: Context, id: string): Promise<void> {
  requireNoneHere(context);
  const { sequence, node } = await retireNode(context.home, id, context.clock);
  const published = await given(context, [node]);
  context.terminal.result(
    { directory: sequence, retired: id, published },
    [`${id} is retired. Directory number ${sequence} no longer names it.`, ...unpublished(published)].join('\n'),
  );
}

/** Gives the newest directory to the running nodes. */
export async function publish(context: Context): Promise<void> {
  const installation = await openInstallation(context.home, context.clock);
  await publishToNodes(installation, context.clock, context.signal);
  const { sequence } = installation.directories;
  context.terminal.result({ directory: sequence }, `Control has directory number ${sequence}.`);
}

export async function list(context: Context): Promise<void> {
  const { sequence, nodes } = await listNodes(context.home, context.clock);
  context.terminal.result(
    { directory: sequence, nodes },
    sequence === 0
      ? 'No node was admitted yet.'
      : formatTable(
          ['id', 'role', 'address', 'certificate'],
          nodes.map(({ id, role, addresses, fingerprint }) => [
            id,
            role,
            addresses.map(format).join(', ') || '-',
            fingerprint.slice(0, 16),
          ]),
        ),
  );
}

/** Runs the node of a folder until it ends. @returns its exit code */
export async function run(context: Context, options: { readonly admission?: string }): Promise<number> {
  const { home, entries, signal } = context;
  if (options.admission !== undefined) await accept(home, await readJson(context.path(options.admission)));
  return runNode(home, entries, signal);
}

async function accept(home: string, file: unknown): Promise<void> {
  if (isReplicaGrant(file)) await acceptReplica(home, file);
  else await acceptAdmission(home, parseNodeAdmission(file));
}

/** @returns whether control has the newest directory */
async function given({ home, clock, signal }: Context, retired: readonly DirectoryNode[]): Promise<boolean> {
  const installation = await openInstallation(home, clock);
  try {
    await publishToNodes(installation, clock, signal, retired);
    return true;
  } catch (error) {
    const { code } = toMillraceError(error);
    if (code === 'E_UNAVAILABLE' || code === 'E_TIMEOUT') return false;
    throw error;
  }
}

function unpublished(published: boolean): string[] {
  return published
    ? []
    : [`Control does not answer. Once it runs, give it this directory: \`${commandName} node publish\`.`];
}

function requireNoneHere({ home }: Context): void {
  if (nodePlaces({ layout: layoutOf(home) }).length > 0)
    throw new MillraceError(
      'E_STATE',
      'this installation has its nodes in its own folder; one with nodes elsewhere is made by `init --without-nodes`',
    );
}

async function clusterOption(
  context: Context,
  role: DirectoryNode['role'],
  file: string | undefined,
): Promise<ReturnType<typeof parseClusterSettings> | undefined> {
  if (file === undefined) return undefined;
  if (role === 'distribution') throw new MillraceError('E_INPUT', '--cluster: a distribution node has no state');
  return parseClusterSettings(await readJson(context.path(file)), role);
}

function addressOption(option: string, text: string): Address {
  const address = parseHostPort(text);
  if (address === undefined) throw new MillraceError('E_INPUT', `${option}: expected HOST:PORT, not ${text}`);
  return address;
}
