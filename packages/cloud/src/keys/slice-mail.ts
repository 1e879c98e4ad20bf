import { Batcher, sleep } from '@millrace/base';
import type { MessageOf } from '@millrace/protocol';
import type { MailClient } from '../node/mail-client.ts';

/** Slices of one message. */
const MOST = 256;
/** With many streams there is a message so often: its cost is hardly that of what is in it. A window is good for half a minute. */
const GATHER_MS = 40;

/** Slices of all streams on their way to the segments node. */
export type SliceMail = Batcher<MessageOf<'stream.slices'>['slices'][number]>;

export function sliceMail(mail: Pick<MailClient, 'send'>): SliceMail {
  return new Batcher(
    MOST,
    (slices) => mail.send('segments', { type: 'stream.slices', slices: [...slices] }),
    () => sleep(GATHER_MS),
  );
}
