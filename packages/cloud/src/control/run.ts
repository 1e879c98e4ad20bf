import { Closer, wipe } from '@millrace/base';
import { type Authority, openAuthority } from '@millrace/identity';
import type { Address } from '@millrace/protocol';
import type { NodeConfig } from '../config.ts';
import type { ProcessModules } from '../node/modules.ts';
import { closeWith } from '../node/run.ts';
import { type ControlNode, createControlNode } from './control-node.ts';
import { openLedgerKeys } from './ledger-keys.ts';
import { openPermitKey } from './permit-key.ts';
import { openControlStores } from './stores.ts';

/** Starts a control node on the keys and stores of its folder. Closing the node closes them. */
export async function runControlNode(
  { config, ...addresses }: { config: NodeConfig; address: Address; ledgerAddress?: Address | undefined },
  modules: ProcessModules,
): Promise<ControlNode> {
  const opened = new Closer();
  return closeWith(opened, async () => {
    const { queue, ...stores } = opened.add(await openControlStores(config.folder));
    const permit = opened.add(await openPermitKey(config, modules.clock));
    const keys = {
      permit,
      ledger: await openLedgerKeys(config, modules),
      users: await openUserAuthority(config, modules),
    };
    return createControlNode({ id: config.id, config, ...addresses }, { ...modules, stores, queue, keys });
  });
}

/** Undefined if the directory names no authority for users. */
async function openUserAuthority(
  { directory, secret }: NodeConfig,
  { clock }: ProcessModules,
): Promise<Authority | undefined> {
  const { userAuthority: certificate } = directory;
  if (certificate === undefined) return undefined;
  const key = await secret('userAuthorityKey');
  try {
    return await openAuthority({ certificate, key }, () => clock.now());
  } finally {
    wipe(key);
  }
}
