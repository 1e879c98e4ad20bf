import { decodeCbor, encodeCbor, MillraceError, parse } from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import { type Directory, type Message, type NodeRole, openMessage, sealMessage } from '@millrace/protocol';
import type { Queue } from '@millrace/stores';
import { z } from 'zod';

const envelopeSchema = z.strictObject({
  from: z.enum(['control', 'segments', 'keys', 'distribution']),
  sealed: z.instanceof(Uint8Array),
});

export interface Delivery {
  readonly id: string;
  readonly from: NodeRole;
  readonly sealed: Uint8Array;
  readonly attempts: number;
}

const LEASE_MS = 15_000;
const BATCH = 64;
const BATCH_BYTES = 16 * 1024 * 1024;

/** Mail between nodes: sealed, kept until acknowledged, given in order. One consumer a role. */
export class Mailbox {
  readonly #queue: Queue;
  readonly #directory: Directory;
  readonly #identity: P256Key;
  /** Which process of a role polled last, and what it holds: a restarted one gets it again at once. */
  readonly #consumers = new Map<NodeRole, { consumer: string; held: Set<string> }>();

  constructor(queue: Queue, directory: Directory, identity: P256Key) {
    this.#queue = queue;
    this.#directory = directory;
    this.#identity = identity;
  }

  async put(recipient: NodeRole, from: NodeRole, id: string, sealed: Uint8Array): Promise<void> {
    await this.#queue.publish(recipient, `${from}/${id}`, encodeCbor({ from, sealed }));
  }

  /** Control's own mail. */
  async send(recipient: NodeRole, id: string, message: Message): Promise<void> {
    const sealed = await sealMessage(
      this.#directory,
      { role: 'control', identity: this.#identity },
      recipient,
      message,
    );
    await this.put(recipient, 'control', id, sealed);
  }

  open(delivery: Delivery): Promise<Message> {
    return openMessage(this.#directory, { role: 'control', identity: this.#identity }, delivery.from, delivery.sealed);
  }

  /** Waits up to `waitMs` for mail. */
  async poll(recipient: NodeRole, consumer: string, waitMs: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    const known = this.#consumers.get(recipient);
    if (known !== undefined && known.consumer !== consumer) await this.#queue.release(recipient, [...known.held]);
    const held = known?.consumer === consumer ? known.held : new Set<string>();
    this.#consumers.set(recipient, { consumer, held });
    const deadline = Date.now() + waitMs;
    for (;;) {
      const arrived = this.#nextPublish(recipient, Math.min(deadline - Date.now(), 5_000), signal);
      const claimed = await this.#queue.claim(recipient, { limit: BATCH, leaseMs: LEASE_MS, maxBytes: BATCH_BYTES });
      if (claimed.length > 0 || signal.aborted || Date.now() >= deadline) {
        for (const { id } of claimed) held.add(id);
        return claimed.map(({ id, message, attempts }) => ({
          id,
          attempts,
          ...parse(envelopeSchema, decodeCbor(message, 'mail', 'E_STORE'), 'mail', 'E_STORE'),
        }));
      }
      await arrived;
    }
  }

  async acknowledge(recipient: NodeRole, ids: readonly string[]): Promise<void> {
    await this.#queue.acknowledge(recipient, ids);
    for (const id of ids) this.#consumers.get(recipient)?.held.delete(id);
  }

  async release(recipient: NodeRole, ids: readonly string[]): Promise<void> {
    await this.#queue.release(recipient, ids);
    for (const id of ids) this.#consumers.get(recipient)?.held.delete(id);
  }

  /** Resolves when something is published, at the time-out (leases end by time) or when the caller goes away. */
  #nextPublish(recipient: NodeRole, timeoutMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        stop();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const stop = this.#queue.onPublish(recipient, done);
      const timer = setTimeout(done, Math.max(0, timeoutMs));
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

/** Recipients of mail by HTTP. @throws {MillraceError} E_NOT_FOUND */
export function mailRole(name: string): NodeRole {
  if (name === 'control' || name === 'segments' || name === 'keys') return name;
  throw new MillraceError('E_NOT_FOUND', `no mailbox ${name}`);
}
