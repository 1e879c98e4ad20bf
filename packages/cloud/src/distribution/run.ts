import { join } from 'node:path';
import type { Addresses } from '@millrace/protocol';
import { type NodeConfig, nodeFiles } from '../config.ts';
import type { ProcessModules } from '../node/modules.ts';
import { closeWith } from '../node/run.ts';
import { createDistributionNode, type DistributionNode } from './distribution-node.ts';
import { Uploads } from './uploads.ts';

/** Starts a distribution node that stages uploads in its folder. */
export async function runDistributionNode(
  { config, addresses }: { config: NodeConfig; addresses: Addresses },
  modules: ProcessModules,
): Promise<DistributionNode> {
  const uploads = new Uploads(join(config.folder, nodeFiles.data, 'uploads'), config.staging);
  return closeWith(uploads, async () => {
    await uploads.start();
    return createDistributionNode({ id: config.id, config, addresses }, { ...modules, stores: { uploads } });
  });
}
