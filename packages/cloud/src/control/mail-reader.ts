import { type Closable, isDiskFault, MillraceError, sleep } from '@millrace/base';
import { type DirectoryNode, type Message, nodeOf, openMessage } from '@millrace/protocol';
import { Drain } from '../node/drain.ts';
import type { OwnBoxes } from '../node/own-boxes.ts';
import type { ControlContext } from './context.ts';
import type { Delivery } from './mailbox.ts';

/** Maximum attempts to handle one message. */
const GIVE_UP_AFTER = 20;

/** Handles mail of the proactive nodes to control, one message after the other. */
export function readMail(
  { id: own, directory, mailbox, logger, tracer }: ControlContext,
  boxes: OwnBoxes,
  handle: (message: Message, from: DirectoryNode) => Promise<void>,
): Closable {
  const stop = new AbortController();
  const drain = new Drain();
  const take = async ({ id, from, sealed, trace }: Delivery) => {
    const message = await openMessage(directory, { id: own, boxes }, from, sealed);
    if (message.type !== 'box.drained') {
      const sender = nodeOf(directory, from);
      const attributes = { message: message.type, from: sender.role };
      return tracer.run('mail', attributes, () => handle(message, sender), trace);
    }
    drain.after(id, () => {
      boxes
        .drained(message.below)
        .catch((error: unknown) => logger.warn({ err: error }, 'cannot erase drained box keys; retrying in a second'));
    });
  };
  const run = async () => {
    while (!stop.signal.aborted) {
      try {
        for (const delivery of await mailbox.poll(own, 'self', 20_000, stop.signal)) {
          drain.delivered(delivery.id);
          let again = false;
          await take(delivery).catch((error: unknown) => {
            // A full disk is temporary. After an error that is not retryable, the message is dropped.
            const passes = error instanceof MillraceError && error.retryable && delivery.attempts < GIVE_UP_AFTER;
            again = passes || isDiskFault(error);
            logger.warn(
              { err: error, from: delivery.from, again },
              again ? 'message not handled; it will be delivered again' : 'message refused',
            );
          });
          if (again) {
            await mailbox.release(own, [delivery.id]);
            await sleep(500, stop.signal);
          } else {
            await mailbox.acknowledge(own, [delivery.id]);
            drain.acknowledged(delivery.id);
          }
        }
      } catch (error) {
        logger.error({ err: error }, 'cannot read control’s mailbox; retrying in a second');
        await sleep(1_000, stop.signal).catch(() => undefined);
      }
    }
  };
  const running = run();
  return {
    close: async () => {
      stop.abort();
      await running;
    },
  };
}
