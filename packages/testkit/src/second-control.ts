import { type AddedNode, addNodes } from './added-nodes.ts';
import type { TestInstallation } from './test-installation.ts';

/** Adds a control node to the directory of a running installation, with the addresses of both. */
export async function addControl(
  system: TestInstallation,
  id: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<AddedNode> {
  const [added] = await addNodes(system, [{ role: 'control', id, settings }]);
  return added as AddedNode;
}
