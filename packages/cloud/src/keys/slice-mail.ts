import { Batcher, sleep } from '@millrace/base';
import { chooseNode, type Directory, type MessageOf } from '@millrace/protocol';
import type { MailClient } from '../node/mail-client.ts';

/** Slices of one message. */
const MAX_SLICES = 256;
/** With many streams there is a message so often: its cost is hardly that of what is in it. A window is good for half a minute. */
const GATHER_MS = 40;

type Slice = MessageOf<'stream.slices'>['slices'][number];

/** Slices of all streams on their way to the segments nodes, gathered for each of them. */
export interface SliceMail {
  /** Resolves when the mailbox holds it. */
  add(design: string, slice: Slice): Promise<void>;
}

export function sliceMail(mail: Pick<MailClient, 'send'>, directory: Directory): SliceMail {
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
  return { add: (design, slice) => batcherOf(chooseNode(directory, 'segments', design).id).add(slice) };
}
