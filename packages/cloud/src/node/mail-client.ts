import { setMaxListeners } from 'node:events';
import {
  Backoff,
  type BackoffOptions,
  Batcher,
  type Closable,
  decodeCbor,
  isDiskFault,
  type Logger,
  MillraceError,
  parse,
  retry,
  sleep,
  systemRandom,
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
  type HttpClient,
  type Message,
  nodeId,
  nodeOf,
  openMessage,
  type Recipient,
  recipientIn,
  sealMail,
} from '@millrace/protocol';
import { z } from 'zod';
import { Drain } from './drain.ts';
import type { KnownBoxes } from './known-boxes.ts';
import type { OwnBoxes } from './own-boxes.ts';

/** What the mailbox gives to a poll. */
export const deliverySchema = z.array(
  z.strictObject({
    id: z.string(),
    from: nodeId,
    sealed: z.instanceof(Uint8Array),
    attempts: z.number().int(),
  }),
);

export interface MailClient extends Closable {
  /**
   * Leaves a message for a node, or for the node of a role that has the partition; resolves when the mailbox holds it. The same id is delivered once while it is remembered.
   * @throws the signal's reason when the node closes first
   */
  send(to: Recipient, message: Message, id?: string): Promise<void>;
  /** Polls and hands over message by message, in order, until closed. */
  start(handle: Handler): void;
}

/**
 * Resolves when the next message may be handed over.
 * @param goOn takes work that continues after that; the message is acknowledged when the work is done
 */
export type Handler = (message: Message, from: DirectoryNode, goOn: (work: Promise<void>) => void) => Promise<void>;

const POLL_MS = 20_000;
const GIVE_UP_AFTER = 8;
/** Messages of one acknowledgement. */
const ACKNOWLEDGED = 500;

/** Before a call to the mailbox is made again. */
const delays: BackoffOptions = { firstMs: 50, mostMs: 2_000 };

type Boxes = BoxSecrets & Pick<OwnBoxes, 'drained'>;

/** A proactive node's side of the mailbox: it polls, as it opens no port. */
export function createMailClient(options: {
  http: HttpClient;
  directory: Directory;
  /** Of this node. */
  id: string;
  identity: P256Key;
  /** Of this node: `mail` opens what comes. */
  boxes: { readonly mail: Boxes; readonly attachments?: Boxes };
  /** Of the recipients. */
  known: Pick<KnownBoxes, 'of' | 'renew'>;
  logger: Logger;
}): MailClient {
  const { http, directory, id: own, identity, boxes, known, logger } = options;
  const drain = new Drain();
  const stop = new AbortController();
  setMaxListeners(0, stop.signal); // one for each message under way
  const consumer = toHex(systemRandom(8));
  const unfinished = new Map<string, Promise<void>>();
  let running: Promise<void> | undefined;
  // One request at a time, in order: what was handled later is not acknowledged before what was handled first.
  const acknowledgements = new Batcher<string>(ACKNOWLEDGED, async (ids) => {
    await retry(() => http.call('POST', '/v1/mailbox/acknowledge', { json: { ids }, signal: stop.signal }), {
      ...delays,
      signal: stop.signal,
      when: () => true,
      onRetry: (error) => logger.debug({ err: error }, 'acknowledging mail failed; trying again'),
    });
    for (const id of ids) drain.acknowledged(id);
  });

  /** Whether the recipient has made a new key since, which is known from here on. */
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

  const send: MailClient['send'] = async (to, message, id = toHex(systemRandom(16))) => {
    const plain = encodeMail(message);
    let sealed: { readonly to: string; readonly number: number; readonly bytes: Uint8Array } | undefined;
    try {
      for (const backoff = new Backoff(delays); ; ) {
        // Chosen at each attempt: a newer directory may name another node.
        const recipient = recipientIn(directory, to).id;
        try {
          const box = await known.of(recipient);
          if (sealed?.to !== recipient || sealed.number !== box.number) {
            const bytes = await sealMail(directory, { id: own, identity }, box, plain);
            sealed = { to: recipient, number: box.number, bytes };
          }
          const path = `/v1/mailbox/${recipient}?id=${encodeURIComponent(id)}`;
          await http.call('POST', path, { body: sealed.bytes, signal: stop.signal });
          return;
        } catch (error) {
          if (stop.signal.aborted || !(error instanceof MillraceError)) throw error;
          if (await isSuperseded(error, recipient, sealed?.number)) continue;
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
        const path = `/v1/mailbox?wait=${POLL_MS}&consumer=${consumer}`;
        const reply = await http.call('GET', path, { timeoutMs: POLL_MS + 10_000, signal: stop.signal, poll: true });
        backoff.reset();
        for (const item of parse(deliverySchema, decodeCbor(reply.body, 'mail'), 'mail')) {
          // Delivered again while it is being worked on: the lease is shorter than the work.
          if (!unfinished.has(item.id)) await deliver(handle, item);
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        logger.debug({ err: error }, 'mailbox poll failed: tried again');
        await sleep(backoff.next(), stop.signal).catch(() => undefined);
      }
    }
  };

  /** Control has given everything before; once that is done with, the older keys are of no more use. */
  const drained = async (id: string, { use, below }: { use: BoxUse; below: number }): Promise<void> => {
    drain.after(id, () => {
      boxes[use]
        ?.drained(below)
        .catch((error: unknown) =>
          logger.warn({ err: error, use }, 'drained box keys not erased: tried again in a second'),
        );
    });
  };

  /** Resolves when the next one may be delivered; the acknowledgement may still be on its way. */
  const deliver = async (handle: Handler, item: z.output<typeof deliverySchema>[number]): Promise<void> => {
    drain.delivered(item.id);
    let type = 'unknown';
    let more: Promise<void> | undefined;
    /** What has not ended is not handled a second time here; what this process takes with it comes again. */
    const keep = (work: Promise<void>): void => {
      const kept = work
        .catch((error: unknown) => logger.debug({ err: error }, 'message not acknowledged: it is delivered again'))
        .finally(() => unfinished.delete(item.id));
      unfinished.set(item.id, kept);
    };
    /** @returns whether it comes again */
    const finish = async (work: Promise<void>): Promise<boolean> => {
      const again = await work.then(
        () => false,
        (error: unknown) => {
          if (stop.signal.aborted) return true;
          // What a full disk refuses must not be lost: the mail waits until there is room.
          const passes = error instanceof MillraceError && error.retryable && item.attempts < GIVE_UP_AFTER;
          const again = passes || isDiskFault(error);
          logger.warn(
            { err: error, type, from: item.from, again },
            again ? 'message not handled yet: it is delivered again' : 'message refused',
          );
          return again;
        },
      );
      if (!again) return false;
      await http.call('POST', '/v1/mailbox/release', { json: { ids: [item.id] }, signal: stop.signal });
      await sleep(200, stop.signal);
      return true;
    };
    const handled = openMessage(directory, { id: own, boxes: boxes.mail }, item.from, item.sealed).then((message) => {
      type = message.type;
      if (message.type === 'box.drained') return drained(item.id, message);
      return handle(message, nodeOf(directory, item.from), (work) => {
        more = work;
      });
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
