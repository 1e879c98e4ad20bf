import { type Closable, Closer, type Logger, MillraceError, Serial, toHex, toMillraceError } from '@millrace/base';
import type { Addresses, LinkMessage, Message, MessageOf, NodeRole } from '@millrace/protocol';
import { CellStore, decodeMessage, encodeMessage, PointsPool, wipeMessage } from '@millrace/vault';
import type { NodeConfig } from '../config.ts';
import { catchUpDeletions } from '../node/deletions.ts';
import { HeadKeeper, SeenEpoch } from '../node/head.ts';
import type { Handler } from '../node/mail-client.ts';
import type { NodeModules } from '../node/modules.ts';
import { connectOutbound, type Outbound } from '../node/proactive.ts';
import { ObjectBook } from '../streaming/objects.ts';
import { DesignBook } from './designs.ts';
import { Repairing } from './repairing.ts';
import type { SegmentsStores } from './stores.ts';
import { Storing } from './storing.ts';
import { SegmentsStreams } from './streams.ts';

interface Parts {
  readonly designs: DesignBook;
  readonly cells: CellStore;
  readonly storing: Storing;
  readonly repairing: Repairing;
  readonly streams: SegmentsStreams;
  readonly seen: SeenEpoch;
  readonly head: HeadKeeper;
  readonly outbound: Outbound;
  readonly logger: Logger;
  /** Everything that changes cells, in the order of the mail. */
  readonly vault: Serial;
}

/** A running node; its parts serve as `ControlNode.context` does. */
export interface SegmentsNode extends Closable {
  readonly parts: Parts;
  close(): Promise<void>;
}

/** The segments node: holds the cells, opens no port, knows no content key and no playbook. */
export async function createSegmentsNode(
  { id, config, addresses }: { id: string; config: NodeConfig; addresses: Addresses },
  { stores, clock, metrics, ...modules }: NodeModules<SegmentsStores>,
): Promise<SegmentsNode> {
  const closer = new Closer();
  const logger = modules.logger.child({ node: id, role: 'segments' });
  const { directory } = config;
  const { records, cells: file } = stores;
  metrics.gauge('millrace_cells_lost', 'cells that the cell file had lost when the node started').set(file.lost);
  if (file.lost > 0)
    logger.error({ code: 'E_CELL_MISSING', cells: file.lost }, 'cell file is truncated: owners have to repair designs');
  const cells = new CellStore(file, closer.add(new PointsPool()));
  const designs = new DesignBook(records, directory);
  const outbound = await connectOutbound({
    config,
    role: 'segments',
    addresses,
    store: records,
    slots: stores.boxes,
    clock,
    logger,
    onStream: (message) => onStream(parts, message),
  });
  const { control, distribution, mail, link } = outbound;
  const storing = new Storing({ store: records, designs, cells, distribution, mail, logger });
  const repairing = new Repairing({ store: records, designs, cells, distribution, mail, logger });
  const streams = new SegmentsStreams({
    directory,
    clock,
    logger,
    designs,
    objects: new ObjectBook(records),
    cells,
    mail,
    control,
    link,
  });
  const seen = await SeenEpoch.open(records);
  const head = new HeadKeeper({ store: records, control, epoch: () => seen.epoch, logger });
  const parts: Parts = {
    seen,
    head,
    designs,
    cells,
    storing,
    repairing,
    streams,
    outbound,
    logger,
    vault: new Serial(),
  };
  closer.add(streams);
  closer.add(storing);
  closer.add(repairing);
  closer.add(outbound);
  closer.add(head);
  await storing.start();
  await repairing.start();
  head.start(async () => {
    await catchUpDeletions({ control, logger }, async (deletion) => {
      if (await designs.holds(deletion.design)) await deleteDesign(parts, deletion);
    });
    await outbound.start((message, from, goOn) => handle(parts, message, from, goOn));
  });
  return { parts, close: () => closer.close() };
}

function onStream({ streams, logger }: Parts, message: LinkMessage): void {
  if (message.kind === 'reverse')
    streams.receive(message.session, message.payload).catch((error: unknown) => {
      // Whatever one machine sends, the others' streams go on.
      logger.error({ err: toMillraceError(error) }, 'a reverse frame could not be handled');
    });
  // The machine's link broke: it will call home again, for a new session.
  if (message.kind === 'control' && message.message.type === 'lost') void streams.stop(toHex(message.message.session));
}

/**
 * Who may say what: control announces, the keys node instructs. Messages of streams are handled as they come; the others
 * wait for each other. So a slice is read beside a step of a sweep that came before it, which takes no place away that
 * the slice names, and before the next one, which may.
 */
async function handle(parts: Parts, message: Message, from: NodeRole, goOn: Parameters<Handler>[2]): Promise<void> {
  if (from === 'control' && message.type === 'stream.open') return parts.streams.open(message.opening);
  if (from === 'control' && message.type === 'alarm.clear') return parts.streams.clearAlarm(message);
  if (from === 'control' && message.type === 'licence.resume') return parts.streams.resume(message);
  if (from === 'keys') {
    switch (message.type) {
      case 'stream.session':
        return parts.streams.begin(message);
      case 'stream.slices':
        return parts.streams.slices(message);
      case 'stream.mix':
        return parts.streams.mix(message);
      case 'stream.close':
        return parts.streams.stop(message.session);
    }
  }
  goOn(parts.vault.run(() => handleInTurn(parts, message, from)));
}

async function handleInTurn(parts: Parts, message: Message, from: NodeRole): Promise<void> {
  if (from === 'control') {
    switch (message.type) {
      case 'design.add':
        return parts.designs.add(message);
      case 'design.uploaded':
        return parts.storing.begin(message.design);
      case 'design.delete':
        return deleteDesign(parts, message);
      case 'design.repair':
        return parts.repairing.begin(message);
    }
  }
  if (from === 'keys' && message.type === 'vault') return onVault(parts, message.message);
  throw new MillraceError('E_INPUT', `the segments node takes no ${message.type} from ${from}`);
}

/** Given up before it is forgotten: no cell is stored after the keys node has begun to forget the design's. */
async function deleteDesign(
  { designs, storing, repairing, streams }: Parts,
  message: MessageOf<'design.delete'>,
): Promise<void> {
  const { design } = message;
  await designs.delete(message);
  streams.endDesign(design, new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design'));
  await repairing.cancel(design);
  await storing.cancel(design);
}

async function onVault({ cells, storing, repairing, seen, head, outbound }: Parts, bytes: Uint8Array): Promise<void> {
  const message = decodeMessage(bytes);
  const answer = (reply: Parameters<typeof encodeMessage>[0]) =>
    outbound.mail.send('keys', { type: 'vault', message: encodeMessage(reply) });
  switch (message.type) {
    case 'store':
      // In the mail's order: no later message of a sweep overtakes the storing. Both wipe the keys.
      return repairing.expects(message) ? repairing.instructed(message) : storing.instructed(message);
    case 'refused':
      return storing.refused(message);
    case 'maintain':
      try {
        const fit = seen.judge(message.to);
        const which = `a sweep to epoch ${message.to} after epoch ${seen.epoch}`;
        if (fit === 'old') throw new MillraceError('E_REPLAY', `${which}: an old message`);
        if (fit === 'ahead') throw head.suspect('segments', `${which}: the segments node is older`);
        await seen.note(message.to);
        return await answer(await cells.maintain(message));
      } finally {
        wipeMessage(message);
      }
    case 'check':
      try {
        return await answer(await cells.check(message));
      } finally {
        wipeMessage(message);
      }
    default:
      throw new MillraceError('E_INPUT', `the segments node takes no ${message.type}`);
  }
}
