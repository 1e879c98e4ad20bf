import { MillraceError, writeDurably } from '@millrace/base';
import { readJson, toJsonFile } from '@millrace/client/node';
import {
  enrolReplica,
  listReplicas,
  parseClusterSettings,
  parseReplicaRequest,
  removeReplica,
  replicaFingerprint,
  requestReplica,
} from '@millrace/cloud/admin';
import { commandName } from '../output/command-name.ts';
import { formatTable } from '../output/format.ts';
import type { Context } from './context.ts';

// Replicas of a keys node, each on a host of its own (docs/several-hosts.md).

export interface RequestReplicaOptions {
  readonly id: string;
  readonly replicaOf: string;
  readonly installation: string;
  readonly adminKey: string;
  readonly out: string;
  readonly cluster?: string;
}

/** Makes the request of a new replica on its host. */
export async function requestReplicaOf(context: Context, options: RequestReplicaOptions): Promise<void> {
  const { terminal, home } = context;
  const { installation, adminKey, id: replica, replicaOf: node } = options;
  if (options.cluster === undefined)
    throw new MillraceError('E_INPUT', '--cluster: replicas share the keyspace of their node');
  const cluster = parseClusterSettings(await readJson(context.path(options.cluster)), 'keys');
  const made = await requestReplica(home, { installation, adminKey, node, replica }, cluster);
  const out = context.path(options.out);
  await writeDurably(out, toJsonFile(made), 0o644);
  const fingerprint = replicaFingerprint(made);
  terminal.result(
    { id: replica, node, request: out, fingerprint },
    [
      `The request of ${replica}, a replica of ${node}, is in ${out}.`,
      `Fingerprint: ${fingerprint}`,
      `On a host of ${node}: \`${commandName} node replicate REQUEST --fingerprint F --home FOLDER --out FILE\`.`,
    ].join('\n'),
  );
}

/** Enrols a replica, and seals the node's keys to its request. */
export async function replicate(
  context: Context,
  file: string,
  options: { readonly fingerprint: string; readonly out: string },
): Promise<void> {
  const { home, terminal } = context;
  const made = parseReplicaRequest(await readJson(context.path(file)));
  const grant = await enrolReplica(home, made, options.fingerprint.toLowerCase());
  const out = context.path(options.out);
  await writeDurably(out, toJsonFile(grant), 0o600);
  terminal.result(
    { id: made.replica, node: made.node, grant: out },
    [
      `${made.replica} is a replica of ${made.node}. The node's keys are in ${out}, sealed to the request.`,
      `On its host: \`${commandName} node run --home FOLDER --admission FILE\`.`,
    ].join('\n'),
  );
}

/** Lists the replicas of the keys node in this folder, or removes one that is lost for good. */
export async function replicas(context: Context, options: { readonly remove?: string }): Promise<void> {
  const { home, terminal } = context;
  const { active, members } =
    options.remove === undefined ? await listReplicas(home) : await removeReplica(home, options.remove);
  terminal.result(
    { active, replicas: members },
    [
      formatTable(
        ['id', 'state', 'may hold keys of epochs from'],
        members.map(({ id, inSync, oldest }) => [
          id,
          id === active ? 'active last' : inSync ? 'in sync' : 'not in sync',
          inSync ? '-' : (oldest ?? 'none').toString(),
        ]),
      ),
      ...(options.remove === undefined
        ? []
        : [`${options.remove} is removed. Destroy its disk: keys that are destroyed elsewhere may be on it.`]),
    ].join('\n'),
  );
}
