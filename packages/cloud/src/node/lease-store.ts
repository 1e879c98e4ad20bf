import { retry } from '@millrace/base';
import type { Cassandra } from '@millrace/cluster';
import type { ClusterSettings } from '../settings.ts';
import { openNodeCluster } from './cluster.ts';
import { DEFAULT_TAKEOVER_MS } from './lease.ts';
import type { ProcessModules } from './modules.ts';

/** How long a start repeats what was given up early, ms. */
const START_MS = 20_000;

/**
 * Opens the store of the lease, in the cluster of the node's state. Its requests do not depend on the lease, and are
 * given up early, because a late renewal is worth nothing.
 * @throws {MillraceError} E_CONFIG, E_STATE, E_UNAVAILABLE, E_TIMEOUT
 */
export function openLeases(
  folder: string,
  cluster: ClusterSettings,
  { clock }: Pick<ProcessModules, 'clock'>,
): Promise<Cassandra> {
  const { takeoverMs = DEFAULT_TAKEOVER_MS } = cluster;
  const requestMs = takeoverMs / 4;
  const options = { patienceMs: requestMs, requestMs };
  return retry(() => openNodeCluster(folder, cluster, { clock }, options), { forMs: START_MS });
}
