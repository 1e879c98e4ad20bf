import { Batcher, sleep } from '@millrace/base';
import type { MessageOf } from '@millrace/protocol';
import type { MailClient } from '../node/mail-client.ts';

/** Maximum number of slices in one message. */
const MAX_SLICES = 256;
/**
 * Interval at which slices of many streams are gathered into one message, ms. Makes the fixed cost of a message
 * negligible. The delay is short compared with a window, which lasts half a minute.
 */
const GATHER_MS = 40;

type Slice = MessageOf<'stream.slices'>['slices'][number];

/** Gathers the slices of all streams into messages, one for each segments node. */
export interface SliceMail {
  /** Resolves when the mailbox holds the slice. @param node id of the segments node */
  add(node: string, slice: Slice): Promise<void>;
}

export function sliceMail(mail: Pick<MailClient, 'send'>): SliceMail {
  const batchers = new Map<string, Batcher<Slice>>();
  const batcherOf = (node: string): Batcher<Slice> => {
    const known = batchers.get(node);
    if (known !== undefined) return known;
    const made = new Batcher<Slice>(
      MAX_SLICES,
      (slices) => mail.send({ node }, { type: 'stream.slices', slices: [...slices] }),
      () => sleep(GATHER_MS),
    );
    batchers.set(node, made);
    return made;
  };
  return { add: (node, slice) => batcherOf(node).add(slice) };
}
