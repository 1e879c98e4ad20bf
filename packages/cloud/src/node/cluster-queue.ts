import type { Clock, Metrics } from '@millrace/base';
import type { KafkaQueueOptions } from '@millrace/cluster';
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
  settings: KafkaSettings,
  modules: { readonly clock: Clock; readonly metrics: Metrics },
): Promise<Queue> {
  const { openKafkaQueue } = await import('@millrace/cluster');
  return openKafkaQueue(await optionsOf(folder, settings), modules);
}

/** Whether topics with the settings' prefix exist. @throws {MillraceError} E_CONFIG, E_UNAVAILABLE, E_TIMEOUT */
export async function hasNodeQueue(folder: string, settings: KafkaSettings): Promise<boolean> {
  const { hasKafkaTopics } = await import('@millrace/cluster');
  return hasKafkaTopics(await optionsOf(folder, settings));
}

/**
 * Deletes a stopped node's mail, with its topics.
 * @throws {MillraceError} E_CONFIG, also if the login may not delete topics; E_UNAVAILABLE, E_TIMEOUT
 */
export async function eraseNodeQueue(folder: string, settings: KafkaSettings): Promise<void> {
  const { eraseKafkaTopics } = await import('@millrace/cluster');
  await eraseKafkaTopics(await optionsOf(folder, settings));
}

async function optionsOf(
  folder: string,
  { brokers, prefix, copies, deadAfter, login, tls }: KafkaSettings,
): Promise<KafkaQueueOptions> {
  return {
    ...{ brokers, prefix },
    ...(copies !== undefined && { copies }),
    ...(deadAfter !== undefined && { deadAfter }),
    ...(await readAccess(folder, { login, tls })),
  };
}
