import { traceparent } from '@millrace/api';
import {
  type Clock,
  decodeCbor,
  encodeCbor,
  MillraceError,
  noTracer,
  parse,
  RwLock,
  systemRandom,
  type Tracer,
  toHex,
} from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import {
  type BoxRole,
  type BoxUse,
  boxNumberOf,
  type Directory,
  type DirectoryNode,
  encodeMail,
  type Message,
  type MessageOf,
  nodeId,
  nodesOf,
  type Recipient,
  recipientIn,
  sealMail,
} from '@millrace/protocol';
import type { Claimed, Queue } from '@millrace/stores';
import { z } from 'zod';
import { isEarlierTurn } from '../node/consumer.ts';
import type { BoxRegistry } from './boxes.ts';
import { Listening } from './listening.ts';

export const mailEnvelope = z.union([
  z.strictObject({ from: nodeId, sealed: z.instanceof(Uint8Array), trace: traceparent.optional() }),
  /** A message from control itself. Stored in clear, because control wrote it; sealed when it is delivered. */
  z.strictObject({ own: z.instanceof(Uint8Array), trace: traceparent.optional() }),
]);

export interface Delivery {
  readonly id: string;
  /** Id of the node that sent it. */
  readonly from: string;
  readonly sealed: Uint8Array;
  readonly attempts: number;
  /** W3C `traceparent` of the work in which it was sent, if traces are on. */
  readonly trace?: string | undefined;
}

const LEASE_MS = 15_000;
/** A process that has not asked for this time is gone, ms: a call waits 30 s at most. */
const TURN_MS = 60_000;
const BATCH = 64;
const BATCH_BYTES = 16 * 1024 * 1024;

/**
 * Mail between nodes: sealed, kept until acknowledged, delivered in order. Each node has one topic with one key, so
 * that its mail has one order (docs/adr/0013), and one consumer at a time. Nodes erase their box keys after the mail
 * sealed to them has been drained (spec/protocol.md, 4).
 */
export class Mailbox {
  readonly #queue: Queue;
  readonly #id: string;
  readonly #directory: Directory;
  readonly #identity: P256Key;
  readonly #boxes: BoxRegistry;
  readonly #clock: Clock;
  readonly #tracer: Tracer;
  /** No message is added between a new floor and the `box.drained` message about it. */
  readonly #lock = new RwLock();
  /**
   * The process of each node that polled last, and the messages leased to it. A restarted process gets them again at
   * once.
   */
  readonly #consumers = new Map<string, { consumer: string; held: Set<string>; asked: number }>();
  readonly #listening: Listening;

  constructor(modules: {
    queue: Queue;
    /** Id of the control node. */
    id: string;
    directory: Directory;
    identity: P256Key;
    boxes: BoxRegistry;
    clock: Clock;
    tracer?: Tracer;
  }) {
    this.#queue = modules.queue;
    this.#id = modules.id;
    this.#directory = modules.directory;
    this.#identity = modules.identity;
    this.#boxes = modules.boxes;
    this.#clock = modules.clock;
    this.#listening = new Listening(modules.clock);
    this.#tracer = modules.tracer ?? noTracer;
  }

  /**
   * Stores mail from one node to another, both by id.
   * @throws {MillraceError} E_SEAL; E_BOX_KEY when it is sealed to a key that the recipient is about to erase
   */
  async put(recipient: string, from: string, id: string, sealed: Uint8Array): Promise<void> {
    const number = boxNumberOf(sealed);
    await this.#lock.read(async () => {
      await this.#boxes.requireHeld(recipient, 'mail', number);
      await this.#publish(recipient, `${from}/${id}`, encodeCbor({ from, sealed, ...this.#trace() }));
    });
  }

  /** Sends control's own mail. @throws {MillraceError} E_DIRECTORY when there is no such node */
  async send(to: Recipient, id: string, message: Message): Promise<void> {
    const recipient = recipientIn(this.#directory, to).id;
    const envelope = encodeCbor({ own: encodeMail(message), ...this.#trace() });
    await this.#lock.read(() => this.#publish(recipient, `control/${id}`, envelope));
  }

  /**
   * Records a node's new box key or new floor. Mail sealed to a key below the floor is refused from then on. The node
   * gets a `box.drained` message after all mail that was accepted before. May be repeated.
   * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT; E_BOX_KEY when a newer one was announced before
   */
  announce(node: string, use: BoxUse, document: Uint8Array, floor: number): Promise<void> {
    return this.#lock.write(async () => {
      await this.#boxes.take(node, use, document, floor);
      const drained = encodeCbor({ own: encodeMail({ type: 'box.drained', use, below: floor }) });
      await this.#publish(node, `control/drained/${toHex(systemRandom(8))}`, drained);
    });
  }

  /**
   * Waits up to `waitMs` for mail.
   * @param consumer which process of the node asks: see `consumerName`
   * @throws {MillraceError} E_FENCED if a process with a later turn asks, too
   */
  poll(recipient: string, consumer: string, waitMs: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    return this.#listening.during(recipient, signal, () => this.#poll(recipient, consumer, waitMs, signal));
  }

  /**
   * Sends both proactive nodes the opening of a stream.
   * @param how.serves which segments nodes can do it if that of the design is silent; by default, none of the others
   * @param how.over id of the machine's distribution node, if there are several
   */
  async sendOpening(
    id: string,
    design: string,
    opening: MessageOf<'stream.open'>['opening'],
    {
      serves,
      over,
    }: { readonly serves?: ((node: DirectoryNode) => boolean) | undefined; readonly over?: string | undefined },
  ): Promise<void> {
    const several = serves !== undefined && nodesOf(this.#directory, 'segments').length > 1;
    const segments = several ? this.#listening.segmentsNode(this.#directory, design, serves) : undefined;
    const open = { type: 'stream.open', opening, ...(over !== undefined && { distribution: over }) } as const;
    // The writes of the two share a commit.
    await Promise.all([
      this.send(segments === undefined ? { role: 'segments', partition: design } : { node: segments }, id, open),
      this.send({ role: 'keys', partition: design }, id, segments === undefined ? open : { ...open, segments }),
    ]);
  }

  /** Sends a message to every node of a role. */
  async sendAll(role: BoxRole, id: string, message: Message): Promise<void> {
    await Promise.all(nodesOf(this.#directory, role).map((node) => this.send({ node: node.id }, id, message)));
  }

  async #poll(recipient: string, consumer: string, waitMs: number, signal: AbortSignal): Promise<readonly Delivery[]> {
    await this.#boxes.newest(recipient, 'mail'); // control's own mail could not be sealed
    const known = this.#consumers.get(recipient);
    const now = this.#clock.monotonic();
    if (known !== undefined && now - known.asked < TURN_MS && isEarlierTurn(consumer, known.consumer))
      throw new MillraceError('E_FENCED', `a later process of ${recipient} reads its mail`);
    if (known !== undefined && known.consumer !== consumer) await this.#queue.release(recipient, [...known.held]);
    const held = known?.consumer === consumer ? known.held : new Set<string>();
    this.#consumers.set(recipient, { consumer, held, asked: now });
    const deadline = now + waitMs;
    const isCurrent = () => this.#consumers.get(recipient)?.held === held;
    for (;;) {
      if (signal.aborted) return [];
      const arrived = this.#nextPublish(recipient, Math.min(deadline - this.#clock.monotonic(), 5_000), signal);
      const claimed = await this.#claim(recipient, consumer, isCurrent);
      if (claimed.length > 0 || signal.aborted || this.#clock.monotonic() >= deadline) {
        for (const { id } of claimed) held.add(id);
        return await Promise.all(
          claimed.map(async ({ id, message, attempts }) => {
            const envelope = parse(mailEnvelope, decodeCbor(message, 'mail', 'E_STORE'), 'mail', 'E_STORE');
            if ('from' in envelope) return { id, attempts, ...envelope };
            const { own, ...rest } = envelope;
            return { id, attempts, from: this.#id, sealed: await this.#sealOwn(recipient, own), ...rest };
          }),
        );
      }
      await arrived;
    }
  }

  #trace(): { readonly trace?: string } {
    const trace = this.#tracer.traceparent();
    return trace === undefined ? {} : { trace };
  }

  #publish(recipient: string, id: string, envelope: Uint8Array): Promise<void> {
    return this.#queue.publish(recipient, recipient, id, envelope);
  }

  /** Claims mail for a consumer. Claims nothing if another consumer has replaced it. */
  async #claim(recipient: string, consumer: string, isCurrent: () => boolean): Promise<Claimed[]> {
    if (!isCurrent()) return [];
    const options = { consumer, limit: BATCH, leaseMs: LEASE_MS, maxBytes: BATCH_BYTES };
    const claimed = await this.#queue.claim(recipient, options);
    if (isCurrent()) return claimed;
    const ids = claimed.map(({ id }) => id);
    await this.#queue.release(recipient, ids);
    return [];
  }

  async #sealOwn(recipient: string, plain: Uint8Array): Promise<Uint8Array> {
    const { box } = await this.#boxes.newest(recipient, 'mail');
    return sealMail(this.#directory, { id: this.#id, identity: this.#identity }, box, plain);
  }

  async acknowledge(recipient: string, ids: readonly string[]): Promise<void> {
    await this.#queue.acknowledge(recipient, ids);
    for (const id of ids) this.#consumers.get(recipient)?.held.delete(id);
  }

  async release(recipient: string, ids: readonly string[]): Promise<void> {
    await this.#queue.release(recipient, ids);
    for (const id of ids) this.#consumers.get(recipient)?.held.delete(id);
  }

  /** Resolves when a message is published, at the timeout (leases expire) or when the caller disconnects. */
  #nextPublish(recipient: string, timeoutMs: number, signal: AbortSignal): Promise<void> {
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

/** The node with this id, when it has a mailbox. @throws {MillraceError} E_NOT_FOUND */
export function mailNode(directory: Directory, id: string): DirectoryNode {
  const node = nodesOf(directory, id).find((known) => known.id === id && known.role !== 'distribution');
  if (node === undefined) throw new MillraceError('E_NOT_FOUND', `no mailbox ${id}`);
  return node;
}

/**
 * Sends control's own mail to both proactive nodes of a design, and to the segments nodes that may stream it in the
 * place of its own one.
 * @throws {MillraceError} as `Mailbox.send`
 */
export async function sendToBoth(
  mailbox: Pick<Mailbox, 'send' | 'sendAll'>,
  design: string,
  id: string,
  message: Message,
): Promise<void> {
  // The writes of the two share a commit.
  await Promise.all([
    mailbox.sendAll('segments', id, message),
    mailbox.send({ role: 'keys', partition: design }, id, message),
  ]);
}
