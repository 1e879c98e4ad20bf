import { type Bytes, type Logger, type MillraceError, toHex, toMillraceError } from '@millrace/base';
import { encodeControl, type MessageOf } from '@millrace/protocol';
import type { MailClient } from '../node/mail-client.ts';
import type { ObjectRepository } from './objects.ts';

export interface EndModules {
  readonly logger: Logger;
  readonly objects: ObjectRepository;
  readonly mail: MailClient;
  readonly link: { send(message: Bytes): boolean };
}

export interface StreamFailure {
  readonly by: 'keys' | 'segments';
  readonly object: string;
  readonly design: string;
  readonly jti: string;
  /** Segments that the machine had acknowledged. */
  readonly acked: number;
  readonly session: Bytes;
  readonly error: MillraceError;
}

/**
 * A stream has ended before its time at this node: the other proactive node hears of it, control of an alarm, and then the
 * machine. In this order, as the machine's own report would come to control first otherwise.
 */
export async function tellEnd({ logger, objects, mail, link }: EndModules, failure: StreamFailure): Promise<void> {
  const { by, object, design, jti, acked, session, error } = failure;
  const { code, message: reason } = error;
  logger.warn({ err: error, object, acked }, 'stream ended');
  try {
    if (by === 'keys')
      await mail.send({ role: 'segments', partition: design }, { type: 'stream.close', session: toHex(session) });
    if (code === 'E_ALARM') {
      await objects.alarm(object);
      const alarm: MessageOf<'stream.alarm'> = { type: 'stream.alarm', object, jti, acked, by, reason };
      await mail.send({ role: 'control', partition: design }, alarm, `alarm/${object}`);
      if (by === 'segments') await mail.send({ role: 'keys', partition: design }, alarm, `alarm/${object}`);
    }
  } catch (cause) {
    logger.error({ err: toMillraceError(cause), object }, 'the end of the stream could not be told');
  }
  link.send(encodeControl({ type: 'end', session, code, reason }));
}
