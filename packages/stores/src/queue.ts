import type { Bytes } from '@millrace/base';

export interface Claimed {
  readonly key: string;
  readonly id: string;
  readonly message: Bytes;
  /** 1 for the first delivery. Counted since the queue was opened. */
  readonly attempts: number;
}

export interface ClaimOptions {
  /** Whose leases these are: any text. Claims with the same text are claims of one consumer. */
  readonly consumer: string;
  readonly limit: number;
  /** After so many milliseconds without `acknowledge` the message is delivered again. */
  readonly leaseMs: number;
  /** Sum of the messages' lengths; a single message is delivered even if it is longer. */
  readonly maxBytes?: number;
}

/**
 * Messages, at least once, in the order of publishing within a key. Topics and keys are 1 to 100 and ids 1 to 200 bytes of
 * UTF-8. Publications of one key that overlap are in the order of their calls.
 *
 * Several consumers may claim from a topic at once. While a message of a key is leased, its consumer holds the key: no other
 * consumer gets a message of it, and the one that holds it may claim the next ones. Other keys go on. A message whose
 * lease has ended comes again before younger ones of its key. Keys take turns, so that a long one does not keep short
 * ones waiting.
 *
 * `claim`, `publish` and `acknowledge` cost the same however many messages wait, in their key or in others.
 */
export interface Queue {
  /**
   * Durable when it resolves. An id that is waiting in the topic, or was acknowledged a short while ago, is ignored:
   * publishers repeat until they know. They repeat an id with the same key.
   */
  publish(topic: string, key: string, id: string, message: Uint8Array): Promise<void>;
  claim(topic: string, options: ClaimOptions): Promise<Claimed[]>;
  /** Ids that are not waiting are ignored. */
  acknowledge(topic: string, ids: readonly string[]): Promise<void>;
  /** Ends the leases at once. */
  release(topic: string, ids: readonly string[]): Promise<void>;
  /** Messages that are not acknowledged, leased ones included. */
  depth(topic: string): Promise<number>;
  /** Called after something in the topic may have become claimable in this process; returns its own removal. */
  onPublish(topic: string, listener: () => void): () => void;
  close(): Promise<void>;
}
