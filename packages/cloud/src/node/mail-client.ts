import { setMaxListeners } from 'node:events';
import {
  type Closable,
  decodeCbor,
  type Logger,
  MillraceError,
  parse,
  sleep,
  systemRandom,
  toHex,
} from '@millrace/base';
import type { P256Key } from '@millrace/identity';
import {
  type Directory,
  type HttpClient,
  type Message,
  type NodeRole,
  openMessage,
  sealMessage,
} from '@millrace/protocol';
import { z } from 'zod';

/** What the mailbox gives to a poll. */
export const deliverySchema = z.array(
  z.strictObject({
    id: z.string(),
    from: z.enum(['control', 'segments', 'keys', 'distribution']),
    sealed: z.instanceof(Uint8Array),
    attempts: z.number().int(),
  }),
);

export interface MailClient extends Closable {
  /**
   * Leaves a message; resolves when the mailbox holds it. The same id is delivered once while it is remembered.
   * @throws the signal's reason when the node closes first
   */
  send(recipient: NodeRole, message: Message, id?: string): Promise<void>;
  /**
   * Polls and hands over message by message, in order, until closed. One at a time: a cell that was read beside a step of
   * the maintenance has been seen not to open.
   */
  start(handle: (message: Message, from: NodeRole) => Promise<void>): void;
}

const POLL_MS = 20_000;
const GIVE_UP_AFTER = 8;

/** A proactive node's side of the mailbox: it polls, as it opens no port. */
export function createMailClient(options: {
  http: HttpClient;
  directory: Directory;
  role: NodeRole;
  box: P256Key;
  logger: Logger;
}): MailClient {
  const { http, directory, role, box, logger } = options;
  const stop = new AbortController();
  setMaxListeners(0, stop.signal); // one for each message under way
  const consumer = toHex(systemRandom(8));
  let running: Promise<void> | undefined;

  const send: MailClient['send'] = async (recipient, message, id = toHex(systemRandom(16))) => {
    const sealed = await sealMessage(directory, { role, box }, recipient, message);
    for (let delay = 50; ; delay = Math.min(delay * 2, 2_000)) {
      try {
        await http.call('POST', `/v1/mailbox/${recipient}?id=${encodeURIComponent(id)}`, {
          body: sealed,
          signal: stop.signal,
        });
        return;
      } catch (error) {
        if (stop.signal.aborted || !(error instanceof MillraceError && error.retryable)) throw error;
        await sleep(delay, stop.signal);
      }
    }
  };

  const run = async (handle: (message: Message, from: NodeRole) => Promise<void>) => {
    let delay = 100;
    while (!stop.signal.aborted) {
      try {
        const path = `/v1/mailbox?wait=${POLL_MS}&consumer=${consumer}`;
        const reply = await http.call('GET', path, { timeoutMs: POLL_MS + 10_000, signal: stop.signal });
        delay = 100;
        for (const item of parse(deliverySchema, decodeCbor(reply.body, 'mail'), 'mail')) {
          const done = await deliver(handle, item);
          const path = `/v1/mailbox/${done ? 'acknowledge' : 'release'}`;
          await http.call('POST', path, { json: { ids: [item.id] }, signal: stop.signal });
          if (!done) await sleep(200, stop.signal);
        }
      } catch (error) {
        if (stop.signal.aborted) return;
        logger.debug({ err: error }, 'mailbox');
        await sleep(delay, stop.signal).catch(() => undefined);
        delay = Math.min(delay * 2, 2_000);
      }
    }
  };

  /** False: it shall come again. */
  const deliver = async (
    handle: (message: Message, from: NodeRole) => Promise<void>,
    item: z.output<typeof deliverySchema>[number],
  ): Promise<boolean> => {
    let type = 'unknown';
    try {
      const message = await openMessage(directory, { role, box }, item.from, item.sealed);
      type = message.type;
      await handle(message, item.from);
      return true;
    } catch (error) {
      if (stop.signal.aborted) return false;
      const again = error instanceof MillraceError && error.retryable && item.attempts < GIVE_UP_AFTER;
      logger.warn({ err: error, type, from: item.from, again }, 'a message was refused');
      return !again;
    }
  };

  return {
    send,
    start: (handle) => {
      running ??= run(handle);
    },
    close: async () => {
      stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
      await running;
    },
  };
}
