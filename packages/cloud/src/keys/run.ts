import type { Closable } from '@millrace/base';
import type { Addresses } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import type { ProcessModules } from '../node/modules.ts';
import { closeWith } from '../node/run.ts';
import { createKeysNode, type KeysNode } from './keys-node.ts';
import { inCluster, runKeysReplica } from './replicas/run.ts';
import { openKeysStores } from './stores.ts';

interface RunOptions {
  readonly config: NodeConfig;
  readonly addresses: Addresses;
}

/**
 * Starts a keys node. Its state is in its folder; or in a cluster, and then it may have several replicas.
 * @throws {MillraceError} E_CONFIG, E_STORE, E_UNAVAILABLE, E_TIMEOUT
 */
export function runKeys(options: RunOptions, modules: ProcessModules): Promise<Closable> {
  const { cluster } = options.config;
  if (cluster === undefined) return runKeysNode(options, modules);
  return runKeysReplica({ ...options, ...inCluster(options.config, cluster, modules) }, modules);
}

/** Starts a keys node on the stores of its folder. Closing the node closes them. */
export async function runKeysNode({ config, addresses }: RunOptions, modules: ProcessModules): Promise<KeysNode> {
  const stores = await openKeysStores(config.folder);
  return closeWith(stores, () => createKeysNode({ id: config.id, config, addresses }, { ...modules, stores }));
}
