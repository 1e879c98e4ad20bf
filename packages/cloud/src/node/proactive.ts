import type { ControlClient } from '@millrace/api';
import {
  type Bytes,
  type Clock,
  type Closable,
  Closer,
  type Logger,
  MillraceError,
  noTracer,
  type Tracer,
  toMillraceError,
} from '@millrace/base';
import {
  type Addresses,
  addressesOf,
  type BoxUse,
  createHttpClient,
  createRingClient,
  decodeLink,
  type LinkMessage,
  tlsTo,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import type { Slots } from '@millrace/vault';
import type { NodeConfig } from '../config.ts';
import { controlClient, distributionClient } from './api-clients.ts';
import { connectDistributions, type DistributionLinks } from './distribution-links.ts';
import { followDirectory } from './follow-directory.ts';
import { KnownBoxes } from './known-boxes.ts';
import { createMailClient, type Handler, type MailClient } from './mail-client.ts';
import { OwnBoxes } from './own-boxes.ts';

/** Connections of a node that opens no port and therefore starts every connection. */
export interface Outbound extends Closable {
  readonly control: ControlClient;
  readonly mail: MailClient;
  /** Keys to which owners seal attachments of transactions; only the keys node has such keys. */
  readonly attachments: OwnBoxes | undefined;
  readonly links: DistributionLinks;
  /** Announces the box keys, then starts to handle mail. May be called again until it succeeds. */
  start(handle: Handler): Promise<void>;
}

export async function connectOutbound(options: {
  config: NodeConfig;
  addresses: Addresses;
  /** Stores the newest box keys of the other nodes. */
  store: RecordStore;
  /** Slots of this node's own box keys. */
  slots: { readonly mail: Slots; readonly attachments?: Slots };
  clock: Clock;
  logger: Logger;
  tracer?: Tracer;
  /** Of this process, if others may have the place of this node: see `consumerName`. */
  turn?: number | undefined;
  onStream: (message: LinkMessage) => void;
}): Promise<Outbound> {
  const { config, addresses, store, clock, logger, tracer = noTracer, turn } = options;
  const { id, directory, identity } = config;
  const closer = new Closer();
  const tlsFor = (node: 'control' | 'distribution') => tlsTo(directory, node, () => config.tls);
  const addressesOfControl = () => addressesOf(directory, 'control', () => addresses.control);
  const { traceparent } = tracer;
  const control = controlClient(
    closer.add(createHttpClient({ addresses: addressesOfControl, tls: tlsFor('control'), traceparent })),
  );
  const guest = controlClient(
    closer.add(createHttpClient({ addresses: addressesOfControl, tls: { directory: config.directory } })),
  );
  // Asked for news only, beside control, and one after the other, so that none of them can withhold any.
  const addressesOfDistribution = () => addressesOf(directory, 'distribution', () => addresses.distribution);
  const distribution = distributionClient(
    closer.add(createRingClient(addressesOfDistribution, { tls: tlsFor('distribution') })),
  );
  const links = closer.add(
    connectDistributions(
      {
        directory,
        onChange: (listener) => config.directories?.subscribe(listener),
        bootstrap: () => addresses.distribution,
        tls: () => config.tls,
        logger,
      },
      { message: (bytes: Bytes) => receive(bytes, onMessage, logger), open: () => following.askNow() },
    ),
  );
  const following = closer.add(followDirectory(config, { sources: [control, distribution], guest, logger }));
  const onMessage = (message: LinkMessage) =>
    message.kind === 'control' && message.message.type === 'directory'
      ? following.heard(message.message.sequence)
      : options.onStream(message);
  const ownBoxes = async (use: BoxUse, slots: Slots) =>
    closer.add(
      await OwnBoxes.open({
        slots,
        directory,
        node: id,
        use,
        identity,
        period: config.boxes[use],
        clock,
        logger,
        announce: async (document, floor, signal) => {
          await control.boxes.announce({ use, body: { document, floor } }, { signal });
        },
      }),
    );
  const boxes = {
    mail: await ownBoxes('mail', options.slots.mail),
    ...(options.slots.attachments && { attachments: await ownBoxes('attachments', options.slots.attachments) }),
  };
  const stop = new AbortController();
  const ask = (node: string) => control.boxes.newest({ node, use: 'mail' }, { signal: stop.signal });
  const known = new KnownBoxes({ store, directory, ask, logger });
  const mail = closer.add(createMailClient({ control, directory, id, identity, boxes, known, logger, tracer, turn }));
  closer.add({ close: () => stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing')) });
  const start = async (handle: Handler) => {
    for (const own of Object.values(boxes)) await own.start();
    mail.start(handle);
  };
  const { attachments } = boxes;
  return { control, mail, attachments, links, start, close: () => closer.close() };
}

function receive(bytes: Bytes, onStream: (message: LinkMessage) => void, logger: Logger): void {
  try {
    onStream(decodeLink(bytes, true));
  } catch (error) {
    logger.warn({ err: toMillraceError(error) }, 'link message dropped: it does not decode');
  }
}
