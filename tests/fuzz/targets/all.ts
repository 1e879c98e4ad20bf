import type { Target } from '@millrace/testkit/fuzz/target';
import { certificateTargets } from './certificate.ts';
import { cloudTargets } from './cloud.ts';
import { ledgerTargets } from './ledger.ts';
import { machineTargets } from './machine.ts';
import { materialTargets } from './materials.ts';
import { peerTargets } from './peer.ts';
import { peopleTargets } from './people.ts';
import { protocolTargets } from './protocol.ts';
import { streamTargets } from './stream.ts';
import { threeMfTargets } from './three-mf.ts';
import { vaultTargets } from './vault.ts';

/** All decoders of external bytes in this repository. */
export async function allTargets(): Promise<{ targets: Target[]; close: () => Promise<void> }> {
  const [stream, machine, cloud] = [await streamTargets(), await machineTargets(), await cloudTargets()];
  return {
    targets: [
      ...(await peopleTargets()),
      ...(await materialTargets()),
      ...(await protocolTargets()),
      ...(await ledgerTargets()),
      ...(await certificateTargets()),
      ...(await vaultTargets()),
      ...threeMfTargets(),
      ...stream.targets,
      ...(await peerTargets()),
      ...machine.targets,
      ...cloud.targets,
    ],
    close: async () => {
      for (const part of [stream, machine, cloud]) await part.close();
    },
  };
}
