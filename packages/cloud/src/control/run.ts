import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Closer, wipe } from '@millrace/base';
import { type Authority, openAuthority } from '@millrace/identity';
import type { Address } from '@millrace/protocol';
import { type NodeConfig, nodeFiles } from '../config.ts';
import type { ProcessModules } from '../node/modules.ts';
import { closeWith } from '../node/run.ts';
import { type ControlNode, createControlNode } from './control-node.ts';
import { openLedgerKeys } from './ledger-keys.ts';
import { openPermitKey } from './permit-key.ts';
import { openControlStores } from './stores.ts';

/** Starts a control node on the keys and stores of its folder. Closing the node closes them. */
export async function runControlNode(
  {
    config,
    ...addresses
  }: {
    config: NodeConfig;
    address: Address;
    ledgerAddress?: Address | undefined;
    consoleAddress?: Address | undefined;
    uploadsAddress?: Address | undefined;
  },
  modules: ProcessModules,
): Promise<ControlNode> {
  const opened = new Closer();
  return closeWith(opened, async () => {
    const { queue, ...stores } = opened.add(await openControlStores(config.folder, config.cluster, modules));
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
