import type { Clock, Metrics } from '@millrace/base';
import type { Queue } from '@millrace/stores';
import type { KafkaSettings } from '../settings.ts';
import { readAccess } from './cluster.ts';

/**
 * Connects to the brokers that hold a node's mail. The client is loaded only then.
 * @param folder the node's folder; names of files are relative to it
 * @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT
 */
export async function openNodeQueue(
  folder: string,
  { brokers, prefix, copies, deadAfter, login, tls }: KafkaSettings,
  modules: { readonly clock: Clock; readonly metrics: Metrics },
): Promise<Queue> {
  const { openKafkaQueue } = await import('@millrace/cluster');
  return openKafkaQueue(
    {
      ...{ brokers, prefix },
      ...(copies !== undefined && { copies }),
      ...(deadAfter !== undefined && { deadAfter }),
      ...(await readAccess(folder, { login, tls })),
    },
    modules,
  );
}
