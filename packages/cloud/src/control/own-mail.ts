import { traceparent } from '@millrace/api';
import {
  type Closable,
  decodeCbor,
  encodeCbor,
  isDiskFault,
  type Logger,
  MillraceError,
  noTracer,
  parse,
  sleep,
  type Tracer,
} from '@millrace/base';
import {
  type Directory,
  type DirectoryNode,
  encodeMail,
  type Message,
  nodeOf,
  openMessage,
  readMessage,
} from '@millrace/protocol';
import type { Claimed, Queue } from '@millrace/stores';
import { z } from 'zod';
import type { OwnBoxes } from '../node/own-boxes.ts';
import { mailEnvelope } from './mailbox.ts';

/** Topic and key of the mail to control. A node's id never equals the name of a role. */
export const OWN_TOPIC = 'control';
/** Maximum attempts to handle one message. */
const GIVE_UP_AFTER = 20;
const CLAIM = { consumer: 'self', limit: 64, leaseMs: 15_000, maxBytes: 16 * 1024 * 1024 } as const;
const WAIT_MS = 5_000;

const openedSchema = z.strictObject({
  from: z.string(),
  opened: z.instanceof(Uint8Array),
  trace: traceparent.optional(),
});

export type OwnMailHandler = (message: Message, from: DirectoryNode) => Promise<void>;

/**
 * Mail of the other nodes to control. It is opened when it arrives and kept in clear until it is handled, as control's
 * records are that it changes: the next active control node can handle it, and does not have the key that it was sealed
 * to.
 */
export class OwnMail {
  readonly #queue: Queue;
  readonly #id: string;
  readonly #directory: Directory;
  readonly #boxes: Pick<OwnBoxes, 'keyOf'>;
  readonly #logger: Logger;
  readonly #tracer: Tracer;

  constructor(modules: {
    queue: Queue;
    /** Id of this node. */
    id: string;
    directory: Directory;
    boxes: Pick<OwnBoxes, 'keyOf'>;
    logger: Logger;
    tracer?: Tracer;
  }) {
    this.#queue = modules.queue;
    this.#id = modules.id;
    this.#directory = modules.directory;
    this.#boxes = modules.boxes;
    this.#logger = modules.logger;
    this.#tracer = modules.tracer ?? noTracer;
  }

  /**
   * Opens and keeps a message. Durable when it resolves; may be repeated with the same id.
   * @param recipient the control node that it is sealed to
   * @throws {MillraceError} as `requireActive`; E_BOX_KEY, E_SEAL, E_INPUT, E_FORBIDDEN
   */
  async receive(recipient: string, from: string, id: string, sealed: Uint8Array): Promise<void> {
    this.requireActive(recipient);
    const message = await openMessage(this.#directory, { id: this.#id, boxes: this.#boxes }, from, sealed);
    const trace = this.#tracer.traceparent();
    const opened = encodeCbor({ from, opened: encodeMail(message), ...(trace !== undefined && { trace }) });
    await this.#queue.publish(OWN_TOPIC, OWN_TOPIC, `${from}/${id}`, opened);
  }

  /** @throws {MillraceError} E_BOX_KEY with data {active} if this control node is another one */
  requireActive(node: string): void {
    if (node === this.#id) return;
    throw new MillraceError('E_BOX_KEY', `${this.#id} is the active control node now, not ${node}`, {
      data: { active: this.#id },
    });
  }

  /** Handles the messages one after the other. */
  read(handle: OwnMailHandler): Closable {
    const stop = new AbortController();
    const run = async () => {
      while (!stop.signal.aborted) {
        try {
          const arrived = this.#arrival(stop.signal);
          await this.#takeEarlier();
          const claimed = await this.#queue.claim(OWN_TOPIC, CLAIM);
          for (const item of claimed) await this.#take(item, handle, stop.signal);
          if (claimed.length === 0) await arrived;
        } catch (error) {
          if (stop.signal.aborted) return;
          this.#logger.error({ err: error }, 'cannot read control’s mail; retrying in a second');
          await sleep(1_000, stop.signal).catch(() => undefined);
        }
      }
    };
    const running = run();
    return {
      close: async () => {
        stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
        await running;
      },
    };
  }

  async #take({ id, message, attempts }: Claimed, handle: OwnMailHandler, signal: AbortSignal): Promise<void> {
    try {
      const { from, opened, trace } = parse(openedSchema, decodeCbor(message, 'mail', 'E_STORE'), 'mail', 'E_STORE');
      const [read, sender] = [readMessage(opened), nodeOf(this.#directory, from)];
      await this.#tracer.run('mail', { message: read.type, from: sender.role }, () => handle(read, sender), trace);
    } catch (error) {
      // A full disk is temporary. After an error that is not retryable, the message is dropped.
      const passes = error instanceof MillraceError && error.retryable && attempts < GIVE_UP_AFTER;
      const again = passes || isDiskFault(error) || isFenced(error);
      this.#logger.warn(
        { err: error, id, again },
        again ? 'message not handled; it will be delivered again' : 'message refused',
      );
      if (again) {
        await this.#queue.release(OWN_TOPIC, [id]);
        return sleep(500, signal);
      }
    }
    await this.#queue.acknowledge(OWN_TOPIC, [id]);
  }

  /** Mail that an earlier version has kept sealed, under this node's id. */
  async #takeEarlier(): Promise<void> {
    for (;;) {
      const claimed = await this.#queue.claim(this.#id, CLAIM);
      if (claimed.length === 0) return;
      for (const { id, message } of claimed) {
        const envelope = parse(mailEnvelope, decodeCbor(message, 'mail', 'E_STORE'), 'mail', 'E_STORE');
        if ('from' in envelope) {
          const sent = id.slice(envelope.from.length + 1);
          await this.receive(this.#id, envelope.from, sent, envelope.sealed).catch((error: unknown) =>
            this.#logger.warn({ err: error, id }, 'message refused'),
          );
        }
      }
      await this.#queue.acknowledge(
        this.#id,
        claimed.map(({ id }) => id),
      );
    }
  }

  /** Resolves when a message arrives, when leases may have ended, or at the end. */
  #arrival(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        stop();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const stop = this.#queue.onPublish(OWN_TOPIC, done);
      const timer = setTimeout(done, WAIT_MS);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

/** Another control node handles the message. */
function isFenced(error: unknown): boolean {
  return error instanceof MillraceError && error.code === 'E_FENCED';
}
