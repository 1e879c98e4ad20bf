import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Closable, Closer, MillraceError, wipe } from '@millrace/base';
import { type Authority, openAuthority } from '@millrace/identity';
import { nodesOf } from '@millrace/protocol';
import { type NodeConfig, nodeFiles } from '../config.ts';
import { openLeases } from '../node/lease-store.ts';
import type { ProcessModules } from '../node/modules.ts';
import { closeWith } from '../node/run.ts';
import { type ControlNode, type ControlOptions, createControlNode } from './control-node.ts';
import { openLedgerKeys } from './ledger-keys.ts';
import { runControlMember } from './member.ts';
import { openPermitKey } from './permit-key.ts';
import { shareKeys } from './shared-keys.ts';
import { connectStores, openControlStores, openSharedStores } from './stores.ts';

type RunOptions = Pick<ControlOptions, 'config' | 'address' | 'ledgerAddress' | 'consoleAddress' | 'uploadsAddress'>;

/**
 * Starts a control node. Its state is in its folder, or in a cluster, which it shares with other control nodes.
 * @throws {MillraceError} E_CONFIG if the directory lists several control nodes and the state is in the folder
 */
export async function runControl(options: RunOptions, modules: ProcessModules): Promise<Closable> {
  const { config, address } = options;
  const { cluster, directory, folder } = config;
  if (cluster !== undefined)
    return runControlMember(
      {
        ...{ config, address },
        takeoverMs: cluster.takeoverMs,
        openLeases: () => openLeases(folder, cluster, modules),
        open: (guard) => connectStores(config, cluster, modules, guard),
        activate: ({ lease, holder, serve }, connections) =>
          openNode({ ...options, shared: { keys: shareKeys(config, holder), serve } }, modules, () =>
            openSharedStores(folder, { lease, connections }, modules),
          ),
      },
      modules,
    );
  if (nodesOf(directory, 'control').length > 1)
    throw new MillraceError(
      'E_CONFIG',
      'the directory lists several control nodes: each needs the same cluster in node.json (docs/cluster.md)',
    );
  return runControlNode(options, modules);
}

/** Starts a control node on the keys and stores of its folder. Closing the node closes them. */
export function runControlNode(options: RunOptions, modules: ProcessModules): Promise<ControlNode> {
  return openNode(options, modules, () => openControlStores(options.config.folder));
}

/** Opens stores, and the node on them; closing the node closes them. */
export async function openNode(
  { config, ...options }: Omit<ControlOptions, 'id'>,
  modules: ProcessModules,
  openStores: () => ReturnType<typeof openControlStores>,
): Promise<ControlNode> {
  const opened = new Closer();
  return closeWith(opened, async () => {
    const { queue, ...stores } = opened.add(await openStores());
    const permit = opened.add(await openPermitKey(config, modules.clock));
    const keys = {
      permit,
      ledger: await openLedgerKeys(config, modules),
      users: await openUserAuthority(config, modules),
    };
    return createControlNode({ id: config.id, config, ...options }, { ...modules, stores, queue, keys });
  });
}

/** Undefined if the directory names no authority for users. */
async function openUserAuthority(
  { directory, folder, secret }: NodeConfig,
  { clock }: ProcessModules,
): Promise<Authority | undefined> {
  if (directory.userAuthority === undefined) return undefined;
  // While the authority is rotated, the directory names the next one before its key is in place.
  const certificate = await readFile(join(folder, nodeFiles.userAuthority), 'utf8');
  const key = await secret('userAuthorityKey');
  try {
    return await openAuthority({ certificate, key }, () => clock.now());
  } finally {
    wipe(key);
  }
}
