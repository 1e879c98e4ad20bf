import { type AddedNode, addNodes } from './added-nodes.ts';
import type { TestInstallation } from './test-installation.ts';

/** Adds a distribution node to the directory of a running installation, with the addresses of both. */
export async function addDistribution(system: TestInstallation, id: string): Promise<AddedNode> {
  const [added] = await addNodes(system, [{ role: 'distribution', id }]);
  return added as AddedNode;
}
