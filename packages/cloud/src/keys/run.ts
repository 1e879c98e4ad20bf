import type { Addresses } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import type { ProcessModules } from '../node/modules.ts';
import { closeWith } from '../node/run.ts';
import { createKeysNode, type KeysNode } from './keys-node.ts';
import { openKeysStores } from './stores.ts';

/** Starts a keys node on the stores of its folder. Closing the node closes them. */
export async function runKeysNode(
  { config, addresses }: { config: NodeConfig; addresses: Addresses },
  modules: ProcessModules,
): Promise<KeysNode> {
  const stores = await openKeysStores(config.folder, config.cluster, modules);
  return closeWith(stores, () => createKeysNode({ id: config.id, config, addresses }, { ...modules, stores }));
}
