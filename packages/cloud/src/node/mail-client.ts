import { setMaxListeners } from 'node:events';
import type { ControlClient, deliveries } from '@millrace/api';
import {
  Backoff,
  type BackoffOptions,
  Batcher,
  type Closable,
  isDiskFault,
  type Logger,
  MillraceError,
  noTracer,
  retry,
  sleep,
  systemRandom,
  type Tracer,
  toHex,
  wipe,
} from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import {
  type BoxSecrets,
  type BoxUse,
  type Directory,
  type DirectoryNode,
  encodeMail,
  type Message,
  nodeOf,
  nodesOf,
  openMessage,
  type Recipient,
  recipientIn,
  sealMail,
} from '@millrace/protocol';
import type { z } from 'zod';
import { consumerName } from './consumer.ts';
import { Drain } from './drain.ts';
import type { KnownBoxes } from './known-boxes.ts';
import type { OwnBoxes } from './own-boxes.ts';

export interface MailClient extends Closable {
  /**
   * Posts a message to a node, or to the node of a role that has the partition. Resolves when the mailbox holds the
   * message. A message with the same id is delivered once, as long as the mailbox remembers the id.
   * @throws the signal's reason when the node closes first
   */
  send(to: Recipient, message: Message, id?: string): Promise<void>;
  /** Polls, and passes messages to the handler one by one, in order, until closed. */
  start(handle: Handler): void;
}

/**
 * Handles one message. Resolves when the next one may be handled.
 * @param goOn registers work that continues after that; the message is acknowledged when the work is done
 */
export type Handler = (message: Message, from: DirectoryNode, goOn: (work: Promise<void>) => void) => Promise<void>;

const POLL_MS = 20_000;
const GIVE_UP_AFTER = 8;
/** Maximum number of messages in one acknowledgement. */
const ACKNOWLEDGED = 500;

/** Delay before a call to the mailbox is retried, ms. */
const delays: BackoffOptions = { firstMs: 50, mostMs: 500 };

type Boxes = BoxSecrets & Pick<OwnBoxes, 'drained'>;

/** A proactive node's client of the mailbox. It polls, because the node opens no port. */
export function createMailClient(options: {
  control: Pick<ControlClient, 'mail'>;
  directory: Directory;
  /** Id of this node. */
  id: string;
  identity: P256Key;
  /** Box keys of this node; `mail` opens incoming messages. */
  boxes: { readonly mail: Boxes; readonly attachments?: Boxes };
  /** Box keys of the recipients. */
  known: Pick<KnownBoxes, 'of' | 'renew'>;
  logger: Logger;
  tracer?: Tracer;
  /** See `consumerName`. */
  turn?: number | undefined;
}): MailClient {
  const { control, directory, id: own, identity, boxes, known, logger, tracer = noTracer, turn } = options;
  const drain = new Drain();
  const stop = new AbortController();
  setMaxListeners(0, stop.signal); // one for each message in progress
  const consumer = consumerName(turn);
  const unfinished = new Map<string, Promise<void>>();
  /** The control node that took mail last, or said that it is the active one. */
  let active: string | undefined;
  let running: Promise<void> | undefined;
  // One request at a time, so that messages are acknowledged in the order in which they were handled.
  const acknowledgements = new Batcher<string>(ACKNOWLEDGED, async (ids) => {
    await retry(() => control.mail.acknowledge({ body: { ids: [...ids] } }, { signal: stop.signal }), {
      ...delays,
      signal: stop.signal,
      when: () => true,
      onRetry: (error) => logger.debug({ err: error }, 'cannot acknowledge mail; retrying'),
    });
    for (const id of ids) drain.acknowledged(id);
  });

  /** Fetches the recipient's newest key. @returns whether it is newer than the refused one */
  const isSuperseded = async (
    error: MillraceError,
    recipient: string,
    number: number | undefined,
  ): Promise<boolean> => {
    if (error.code !== 'E_BOX_KEY' || number === undefined) return false;
    return known.renew(recipient, number).then(
      (box) => box.number > number,
      () => false,
    );
  };

  /** Resolved for each attempt, because a newer directory may name another node, or another control node be active. */
  const recipientOf = (to: Recipient): string => {
    const chosen = recipientIn(directory, to);
    if (chosen.role !== 'control') return chosen.id;
    const known = nodesOf(directory, 'control').find(({ id }) => id === active);
    return (known ?? chosen).id;
  };

  const send: MailClient['send'] = async (to, message, id = toHex(systemRandom(16))) => {
    const plain = encodeMail(message);
    let sealed: { readonly to: string; readonly number: number; readonly bytes: Uint8Array } | undefined;
    try {
      for (const backoff = new Backoff(delays); ; ) {
        const recipient = recipientOf(to);
        try {
          const box = await known.of(recipient);
          if (sealed?.to !== recipient || sealed.number !== box.number) {
            const bytes = await sealMail(directory, { id: own, identity }, box, plain);
            sealed = { to: recipient, number: box.number, bytes };
          }
          await control.mail.send({ recipient, id, body: sealed.bytes }, { signal: stop.signal });
          return;
        } catch (error) {
          if (stop.signal.aborted || !(error instanceof MillraceError)) throw error;
          const named = error.code === 'E_BOX_KEY' ? error.data.active : undefined;
          if (typeof named === 'string') active = named;
          else if (await isSuperseded(error, recipient, sealed?.number)) continue;
          if (!error.retryable && error.code !== 'E_BOX_KEY') throw error;
          await sleep(backoff.next(), stop.signal);
        }
      }
    } finally {
      wipe(plain);
    }
  };

  const run = async (handle: Handler) => {
    const backoff = new Backoff(delays);
    while (!stop.signal.aborted) {
      try {
        const options = { timeoutMs: POLL_MS + 10_000, signal: stop.signal };
        const delivered = await control.mail.poll({ wait: POLL_MS, consumer }, options);
        backoff.reset();
        for (const item of delivered) {
          // Delivered again while it is still being handled, because the lease is shorter than the work.
          if (!unfinished.has(item.id)) await deliver(handle, item);
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        logger.debug({ err: error }, 'cannot poll the mailbox; retrying');
        await sleep(backoff.next(), stop.signal).catch(() => undefined);
      }
    }
  };

  /**
   * Handles `box.drained`: control has delivered all earlier mail. When that mail is acknowledged, older keys can be
   * erased.
   */
  const drained = async (id: string, { use, below }: { use: BoxUse; below: number }): Promise<void> => {
    drain.after(id, () => {
      boxes[use]
        ?.drained(below)
        .catch((error: unknown) =>
          logger.warn({ err: error, use }, 'cannot erase drained box keys; retrying in a second'),
        );
    });
  };

  /** Handles one message. Resolves when the next one may be handled; the acknowledgement may follow later. */
  const deliver = async (handle: Handler, item: z.output<typeof deliveries>[number]): Promise<void> => {
    drain.delivered(item.id);
    let type = 'unknown';
    let more: Promise<void> | undefined;
    /**
     * Handles a message once, even if it is delivered again meanwhile. If the process ends first, the message is
     * delivered again.
     */
    const keep = (work: Promise<void>): void => {
      const kept = work
        .catch((error: unknown) => logger.debug({ err: error }, 'message not acknowledged; it will be delivered again'))
        .finally(() => {
          if (unfinished.get(item.id) === kept) unfinished.delete(item.id);
        });
      unfinished.set(item.id, kept);
    };
    /** @returns whether the message must be delivered again */
    const finish = async (work: Promise<void>): Promise<boolean> => {
      const again = await work.then(
        () => false,
        (error: unknown) => {
          if (stop.signal.aborted) return true;
          // A full disk is temporary, so the mail waits until there is space.
          const passes = error instanceof MillraceError && error.retryable && item.attempts < GIVE_UP_AFTER;
          const again = passes || isDiskFault(error);
          logger.warn(
            { err: error, type, from: item.from, again },
            again ? 'message not handled; it will be delivered again' : 'message refused',
          );
          return again;
        },
      );
      if (!again) return false;
      await sleep(200, stop.signal);
      // It may be delivered again before the answer to its release is here.
      unfinished.delete(item.id);
      await control.mail.release({ body: { ids: [item.id] } }, { signal: stop.signal });
      return true;
    };
    const handled = openMessage(directory, { id: own, boxes: boxes.mail }, item.from, item.sealed).then((message) => {
      type = message.type;
      if (message.type === 'box.drained') return drained(item.id, message);
      const from = nodeOf(directory, item.from);
      return tracer.run(
        'mail',
        { message: type, from: from.role },
        () =>
          handle(message, from, (work) => {
            more = work;
          }),
        item.trace,
      );
    });
    await handled.catch(() => undefined);
    const acknowledge = async (again: boolean) => (again ? undefined : acknowledgements.add(item.id));
    if (more === undefined) keep(acknowledge(await finish(handled)));
    else keep(finish(more).then(acknowledge));
  };

  return {
    send,
    start: (handle) => {
      running ??= run(handle);
    },
    close: async () => {
      stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
      await running;
      await Promise.all(unfinished.values());
    },
  };
}
