import { createHash, type Hash } from 'node:crypto';
import { u32be, utf8 } from '@millrace/base';
import type { Queue } from '@millrace/stores';
import type { Tally } from './tally.ts';

/** The mail that control keeps for nodes, and the topics that it may be in. No process uses the queue. */
export interface Mail {
  readonly queue: Queue;
  readonly topics: readonly string[];
}

const CLAIM = { consumer: 'migrate', limit: 256, maxBytes: 16 << 20, leaseMs: 24 * 3_600_000 } as const;

/**
 * Reads all mail that waits, and publishes it to another queue if one is given, in the order of each key. The messages
 * stay in the queue, leased to this process until it is closed. Ids that were acknowledged are not copied, so a
 * repetition of such a message would be delivered again, as after any end of a lease.
 * @throws as the queues
 */
export async function copyMail({ queue, topics }: Mail, to?: Queue): Promise<Tally> {
  let count = 0;
  // Keys take turns in an order that differs between queues.
  const hashes = new Map<string, Hash>();
  for (const topic of topics) {
    for (;;) {
      const claimed = await queue.claim(topic, CLAIM);
      if (claimed.length === 0) break;
      for (const { key, id, message } of claimed) {
        const place = `${topic}\n${key}`;
        const hash = hashes.get(place) ?? createHash('sha256');
        hashes.set(place, hash);
        const name = utf8(id);
        hash.update(u32be(name.length)).update(name).update(u32be(message.length)).update(message);
        count++;
        await to?.publish(topic, key, id, message);
      }
    }
  }
  const all = createHash('sha256');
  for (const [place, hash] of [...hashes].sort(([a], [b]) => (a < b ? -1 : 1))) all.update(place).update(hash.digest());
  return { count, sha256: all.digest('hex') };
}
