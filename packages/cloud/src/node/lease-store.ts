import { noMetrics } from '@millrace/base';
import type { Cassandra } from '@millrace/cluster';
import type { ClusterSettings } from '../settings.ts';
import { openNodeCluster } from './cluster.ts';
import { DEFAULT_TAKEOVER_MS } from './lease.ts';
import type { ProcessModules } from './modules.ts';

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
  return openNodeCluster(folder, cluster, clock, noMetrics, { patienceMs: requestMs, requestMs });
}
