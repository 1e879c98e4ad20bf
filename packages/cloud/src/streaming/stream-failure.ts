import { type Bytes, type Logger, type MillraceError, toHex, toMillraceError } from '@millrace/base';
import { encodeControl, type MessageOf } from '@millrace/protocol';
import type { MailClient } from '../node/mail-client.ts';
import type { ObjectRepository } from './objects.ts';

export interface FailureModules {
  readonly logger: Logger;
  readonly objects: ObjectRepository;
  readonly mail: MailClient;
  readonly link: { send(message: Bytes): boolean };
}

export interface StreamFailure {
  readonly by: 'keys' | 'segments';
  readonly object: string;
  readonly design: string;
  readonly permitId: string;
  /** Number of segments that the machine had acknowledged. */
  readonly acked: number;
  readonly session: Bytes;
  readonly error: MillraceError;
  /** Id of the segments node, if the keys node ends the stream. */
  readonly segments?: string;
}

/**
 * Reports a stream that this node has ended early: first to the other proactive node, then to control in case of an
 * alarm, last to the machine, because the machine's own report must not reach control before the alarm.
 */
export async function reportFailure(
  { logger, objects, mail, link }: FailureModules,
  failure: StreamFailure,
): Promise<void> {
  const { by, object, design, permitId, acked, session, error, segments } = failure;
  const { code, message: reason } = error;
  logger.warn({ err: error, object, acked }, 'stream ended before its last segment');
  try {
    if (segments !== undefined) await mail.send({ node: segments }, { type: 'stream.close', session: toHex(session) });
    if (code === 'E_ALARM') {
      await objects.alarm(object);
      const alarm: MessageOf<'stream.alarm'> = { type: 'stream.alarm', object, permitId, acked, by, reason };
      await mail.send({ role: 'control', partition: design }, alarm, `alarm/${object}`);
      if (by === 'segments') await mail.send({ role: 'keys', partition: design }, alarm, `alarm/${object}`);
    }
  } catch (cause) {
    logger.error({ err: toMillraceError(cause), object }, 'cannot report the end of the stream to the other nodes');
  }
  link.send(encodeControl({ type: 'end', session, code, reason }));
}
