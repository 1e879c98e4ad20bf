import type { Addresses } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import type { ProcessModules } from '../node/modules.ts';
import { closeWith } from '../node/run.ts';
import { createSegmentsNode, type SegmentsNode } from './segments-node.ts';
import { openSegmentsStores } from './stores.ts';

/** Starts a segments node on the stores of its folder. Closing the node closes them. */
export async function runSegmentsNode(
  { config, addresses }: { config: NodeConfig; addresses: Addresses },
  modules: ProcessModules,
): Promise<SegmentsNode> {
  const stores = await openSegmentsStores(config.folder, config.cluster, modules);
  return closeWith(stores, () => createSegmentsNode({ id: config.id, config, addresses }, { ...modules, stores }));
}
