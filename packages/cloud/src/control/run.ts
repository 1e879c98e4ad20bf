import { Closer } from '@millrace/base';
import type { Address } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import type { ProcessModules } from '../node/modules.ts';
import { closeWith } from '../node/run.ts';
import { type ControlNode, createControlNode } from './control-node.ts';
import { openLedgerKeys } from './ledger-keys.ts';
import { openPermitKey } from './permit-key.ts';
import { openControlStores } from './stores.ts';

/** A control node on the keys and stores of its folder, which it closes when it closes. */
export async function runControlNode(
  { config, ...addresses }: { config: NodeConfig; address: Address; ledgerAddress?: Address | undefined },
  modules: ProcessModules,
): Promise<ControlNode> {
  const opened = new Closer();
  return closeWith(opened, async () => {
    const { queue, ...stores } = opened.add(await openControlStores(config.folder));
    const permit = opened.add(await openPermitKey(config, modules.clock));
    const keys = { permit, ledger: await openLedgerKeys(config, modules) };
    return createControlNode({ id: config.id, config, ...addresses }, { ...modules, stores, queue, keys });
  });
}
