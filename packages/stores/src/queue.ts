import type { Bytes } from '@millrace/base';

export interface Claimed {
  readonly key: string;
  readonly id: string;
  readonly message: Bytes;
  /** 1 for the first delivery. Counted since the queue was opened. */
  readonly attempts: number;
}

export interface ClaimOptions {
  /** Name of the consumer that gets the leases: any text. Claims with the same text are from the same consumer. */
  readonly consumer: string;
  readonly limit: number;
  /** The message is delivered again if it is not acknowledged within this time, ms. */
  readonly leaseMs: number;
  /** Maximum sum of the messages' lengths. A single longer message is still delivered. */
  readonly maxBytes?: number;
}

/**
 * Delivers messages at least once, in the order of publishing within a key. Topics and keys are 1 to 100 and ids 1 to
 * 200 bytes of UTF-8. Concurrent publications of one key are ordered by their calls.
 *
 * Several consumers may claim from a topic at once. While a message of a key is leased, its consumer holds the key: no
 * other consumer gets messages of it, and the holder may claim the next ones. Other keys are not affected. A message
 * whose lease has ended is delivered before younger messages of its key. Keys take turns, so that a key with many
 * messages does not delay the others.
 *
 * The cost of `claim`, `publish` and `acknowledge` does not depend on how many messages wait, in any key.
 */
export interface Queue {
  /**
   * Durable when it resolves. An id that waits in the topic, or was acknowledged recently, is ignored, because
   * publishers repeat until they get an acknowledgement. They repeat an id with the same key.
   */
  publish(topic: string, key: string, id: string, message: Uint8Array): Promise<void>;
  claim(topic: string, options: ClaimOptions): Promise<Claimed[]>;
  /** Ids that are not waiting are ignored. */
  acknowledge(topic: string, ids: readonly string[]): Promise<void>;
  /** Ends the leases at once. */
  release(topic: string, ids: readonly string[]): Promise<void>;
  /** Number of messages that are not acknowledged, including leased ones. */
  depth(topic: string): Promise<number>;
  /**
   * Called when messages of the topic may have become claimable in this process. Returns a function that removes the
   * listener.
   */
  onPublish(topic: string, listener: () => void): () => void;
  close(): Promise<void>;
}
