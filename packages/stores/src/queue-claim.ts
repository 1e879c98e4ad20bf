import type { Claimed, ClaimOptions } from './queue.ts';
import type { StoredMessage } from './queue-keys.ts';
import type { KeyQueue, TopicState } from './queue-topic.ts';

/**
 * Claims messages of a topic. Only one claim of a topic may run at a time.
 * @param now milliseconds; the leases begin then
 * @param read messages of a key that a claim may deliver, at most `limit`, in order
 */
export async function claimMessages(
  state: TopicState,
  { consumer, limit, leaseMs, maxBytes = Number.POSITIVE_INFINITY }: ClaimOptions,
  now: () => number,
  read: (queue: KeyQueue, limit: number) => Promise<readonly StoredMessage[]> | readonly StoredMessage[],
): Promise<Claimed[]> {
  state.beginClaim(now());
  const claimed: Claimed[] = [];
  let bytes = 0;
  try {
    while (claimed.length < limit) {
      const queue = state.turnOf(consumer);
      if (queue === undefined) break;
      const before = claimed.length;
      const found = await read(queue, limit - claimed.length);
      for (const stored of found) {
        const { id, message } = stored;
        if (claimed.length > 0 && bytes + message.length > maxBytes) {
          // A key keeps its turn if none of its messages was claimed.
          if (claimed.length > before) state.hadTurn(queue, true);
          return claimed;
        }
        const attempts = state.lease(queue, stored, { consumer, leaseMs }, now());
        if (attempts === undefined) continue;
        bytes += message.length;
        claimed.push({ key: queue.key, id, message, attempts });
      }
      // If nothing was found, the next publication or acknowledgement of the key adds it to the line again.
      state.hadTurn(queue, found.length > 0);
    }
    return claimed;
  } finally {
    state.endClaim();
  }
}
