import { type Clock, replaceByStaged } from '@millrace/base';
import { eraseFormerLogKey, replaceKeys } from '@millrace/cloud/admin';
import { replaceMachineCertificate } from '@millrace/machine/admin';
import { type NodeRole, replaceTls } from '@millrace/protocol';
import { userFiles } from '../installation/layout.ts';
import type { Installation } from '../installation/open.ts';
import { discardUnlisted } from './accept.ts';
import { machinePlaces, nodePlaces, userPlaces } from './places.ts';
import type { Processes } from './processes.ts';
import { readDocument, spread } from './publish.ts';

export interface FinishOptions {
  readonly installation: Installation;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Completes a rotation, or discards staged keys that never became valid. All processes get the directory first, then
 * one node after the other gets its new keys and is restarted. After a crash at any point, the next call continues.
 * @returns the restarted nodes
 */
export async function finishRotation(options: FinishOptions): Promise<NodeRole[]> {
  const { installation, processes, clock, signal } = options;
  const { layout } = installation;
  await discardUnlisted(installation, await readDocument(installation));
  await spread(installation, processes, clock, signal);
  const restarted: NodeRole[] = [];
  for (const place of nodePlaces(installation)) {
    const { role } = place.party;
    if (!(await replaceKeys(place.folder))) continue;
    signal?.throwIfAborted();
    if (!(await processes.running()).includes(role)) continue;
    await processes.restart(role);
    restarted.push(role);
  }
  // An agent reloads its certificate while running, and users' commands read theirs on start.
  for (const { folder } of machinePlaces(installation)) await replaceMachineCertificate(folder);
  for (const { folder } of userPlaces(installation)) await replaceTls(folder, userFiles);
  await replaceByStaged(layout.authority.key);
  await replaceByStaged(layout.authority.certificate);
  await eraseFormerLogKey(layout.node('control'), installation.directory, clock.now());
  return restarted;
}
