import { join } from 'node:path';
import { type Clock, copyBytes, wipe, writeDurably } from '@millrace/base';
import { readBytes } from '@millrace/client/node';
import { ed25519NoteSigner, formatVerifierKey } from '@millrace/ledger';
import { logKeysOf, type NodeRole } from '@millrace/protocol';
import { nodeFiles } from '../installation/layout.ts';
import type { Installation } from '../installation/open.ts';
import { unaccepted } from './accept.ts';
import { certificateOf, machinePlaces, nodePlaces, tlsKeyOf, userPlaces } from './places.ts';
import type { Processes } from './processes.ts';
import { readDocument, spread } from './publish.ts';
import { discard, erase, exists, putInPlace, staged } from './staged.ts';

export interface FinishOptions {
  readonly installation: Installation;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Takes a rotation to its end, or takes away what never counted: everybody has the directory first, then one node after the
 * other gets its new keys and is started again. Killed anywhere, the next call goes on.
 * @returns what was started again
 */
export async function finishRotation(options: FinishOptions): Promise<NodeRole[]> {
  const { installation, processes, clock, signal } = options;
  const { layout } = installation;
  await discard(...(await unaccepted(installation, await readDocument(installation))));
  await spread(installation, processes, clock, signal);
  const restarted: NodeRole[] = [];
  for (const place of nodePlaces(installation)) {
    const { role } = place.party;
    if (!(await replaceKeysOf(installation, role))) continue;
    signal?.throwIfAborted();
    if (!(await processes.running()).includes(role)) continue;
    await processes.restart(role);
    restarted.push(role);
  }
  // An agent takes its certificate by itself, and users' commands read theirs when they begin.
  for (const place of [...machinePlaces(installation), ...userPlaces(installation)]) {
    await putInPlace(tlsKeyOf(place));
    await putInPlace(certificateOf(place));
  }
  await putInPlace(layout.authority.key);
  await putInPlace(layout.authority.certificate);
  await eraseFormerLogKey(installation, clock);
  return restarted;
}

async function replaceKeysOf(installation: Installation, role: NodeRole): Promise<boolean> {
  const folder = installation.layout.node(role);
  const { certificate, tlsKey, identity, permitKey, permitKeyDocument, logKey } = nodeFiles;
  let replaced = false;
  if (await exists(staged(join(folder, logKey)))) await keepFormerLogKey(folder);
  // What names a key comes after it: until it is in its place, the key may be on the way.
  for (const name of [logKey, permitKey, permitKeyDocument, identity, tlsKey, certificate])
    replaced = (await putInPlace(join(folder, name))) || replaced;
  return replaced;
}

/** The log key until now signs beside the new one while it counts. */
async function keepFormerLogKey(folder: string): Promise<void> {
  const secret = await readBytes(join(folder, nodeFiles.logKey));
  try {
    await writeDurably(join(folder, nodeFiles.formerLogKey), secret);
  } finally {
    wipe(secret);
  }
}

/** Once it counts no more. */
export async function eraseFormerLogKey(installation: Installation, clock: Clock): Promise<void> {
  const path = join(installation.layout.node('control'), nodeFiles.formerLogKey);
  if (!(await exists(path))) return;
  const secret = await readBytes(path);
  let key: string;
  try {
    const { name, publicKey } = ed25519NoteSigner(`millrace/${installation.directory.installation}`, copyBytes(secret));
    key = formatVerifierKey(name, publicKey);
  } finally {
    wipe(secret);
  }
  if (!logKeysOf(installation.directory, clock.now()).includes(key)) await erase(path);
}
