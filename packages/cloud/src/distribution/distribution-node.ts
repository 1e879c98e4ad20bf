import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { distributionLinks } from '@millrace/api';
import {
  type Closable,
  Closer,
  copyBytes,
  type Logger,
  MillraceError,
  noTracer,
  toMillraceError,
} from '@millrace/base';
import {
  type Addresses,
  addressesOf,
  createHttpClient,
  linkName,
  MAX_LINK_MESSAGE,
  nodesOf,
  PROTOCOL,
  PROTOCOL_HEADER,
  tlsTo,
} from '@millrace/protocol';
import { type WebSocket, WebSocketServer } from 'ws';
import type { NodeConfig } from '../config.ts';
import { controlClient } from '../node/api-clients.ts';
import { followDirectory } from '../node/follow-directory.ts';
import { answersInMemory, IdempotentAnswers } from '../node/idempotency.ts';
import { reportMetrics } from '../node/metrics-reporter.ts';
import type { NodeModules } from '../node/modules.ts';
import { permits } from '../node/policy.ts';
import { certificateOf, createTlsServer, listen, requireKnownProtocol, type TlsServer } from '../node/server.ts';
import { openBrowserUploads } from './browser-uploads.ts';
import { callerAt } from './callers.ts';
import type { Peer } from './calls.ts';
import { countLinks, type LinkCounts } from './link-counts.ts';
import { Relay } from './relay.ts';
import { addRoutes } from './routes.ts';
import { Tickets } from './tickets.ts';
import type { Uploads } from './uploads.ts';

/** A running node. Its parts are exposed for tests, like `ControlNode.context`. */
export interface DistributionNode extends Closable {
  readonly relay: Relay;
  readonly uploads: Uploads;
  close(): Promise<void>;
}

/**
 * The distribution node, the only node that machines reach. Stages uploads and relays streams; holds no keys, seeds or
 * cells.
 */
export async function createDistributionNode(
  { id, config, addresses }: { id: string; config: NodeConfig; addresses: Addresses },
  { stores, clock, metrics, tracer = noTracer, ...modules }: NodeModules<{ readonly uploads: Uploads }>,
): Promise<DistributionNode> {
  const closer = new Closer();
  const logger = modules.logger.child({ node: id, role: 'distribution' });
  const links = countLinks(metrics);
  const { directory } = config;
  const control = closer.add(
    createHttpClient({
      addresses: () => addressesOf(directory, 'control', () => addresses.control),
      tls: tlsTo(directory, 'control', () => config.tls),
      traceparent: tracer.traceparent,
    }),
  );
  const guest = closer.add(
    createHttpClient({
      addresses: () => addressesOf(directory, 'control', () => addresses.control),
      tls: { directory },
    }),
  );
  const relay = new Relay(control, logger, tracer);
  const api = controlClient(control);
  closer.add(reportMetrics({ metrics, node: config, control: api, logger }));
  const server = createTlsServer({
    ...{ directory, tls: config.tls, logger, metrics, tracer },
    ...{ bodyLimit: 64 * 1024, visitors: true },
  });
  const { uploads } = stores;
  const answers = await IdempotentAnswers.open(answersInMemory(), clock);
  const hourly = setInterval(() => void answers.forget(), 3_600_000);
  closer.add({ close: () => clearInterval(hourly) });
  const tickets = new Tickets(directory, clock);
  addRoutes(server, {
    uploads,
    tickets,
    directories: config.directories,
    actorOf: (request) => callerAt(directory, certificateOf(request)),
    answers,
  });
  acceptLinks(server, config, relay, { logger, links });
  const onChange = () => {
    relay.keepNodes((id) => nodesOf(directory, id).length > 0);
    if (config.directories !== undefined) relay.announceDirectory(config.directories.sequence);
  };
  closer.add(
    followDirectory(config, {
      server,
      visitors: true,
      sources: [api],
      guest: controlClient(guest),
      logger,
      onChange,
    }),
  );
  closer.add(await listen(server, addresses.distribution));
  closer.add(
    await openBrowserUploads({
      ...{ config, address: addresses.browsers, consoleAddress: addresses.console },
      ...{ directory, uploads, tickets, answers, clock, logger, metrics, tracer },
    }),
  );
  closer.add({ close: () => relay.close() });
  return { relay, uploads, close: () => closer.close() };
}

/** Accepts the declared WebSockets. */
function acceptLinks(
  server: TlsServer,
  { directory }: NodeConfig,
  relay: Relay,
  { logger, links }: { logger: Logger; links: LinkCounts },
): void {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_LINK_MESSAGE });
  sockets.on('headers', (headers) => headers.push(`${PROTOCOL_HEADER}: ${PROTOCOL}`));
  server.server.on('upgrade', (request, socket: Duplex, head) => {
    try {
      const certificate = (socket as TLSSocket).getPeerX509Certificate();
      requireKnownProtocol(request.headers, certificate);
      const party = callerAt(directory, certificate);
      const declared = Object.values(distributionLinks).find(({ path }) => path === request.url);
      if (declared === undefined || !permits(party, declared.action))
        throw new MillraceError('E_AUTH', 'this party may not open a link here');
      const accept = (open: (link: WebSocket) => void) =>
        sockets.handleUpgrade(request, socket, head, (link) => {
          open(link);
          links.opened(party.role);
          link.once('close', () => links.closed(party.role));
        });
      if (party.role === 'machine')
        accept((link) => {
          const peer = peerOf(link);
          const name = linkName(party.name, party.cloud);
          relay.machineOpened(name, peer, { machine: party.name, cloud: party.cloud });
          serve(
            link,
            logger,
            (bytes) => relay.fromMachine(name, bytes),
            () => relay.machineClosed(name, peer),
          );
        });
      else if (party.role === 'segments' || party.role === 'keys') {
        const node = { id: party.id, role: party.role };
        accept((link) => {
          const peer = peerOf(link, gatherWrites(socket));
          relay.nodeOpened(node, peer);
          serve(
            link,
            logger,
            (bytes) => relay.fromNode(node, bytes),
            () => relay.nodeClosed(node, peer),
          );
        });
      }
    } catch (error) {
      const { http, code } = toMillraceError(error);
      links.refused();
      logger.info({ code }, 'link refused');
      socket.end(`HTTP/1.1 ${http} Refused\r\nconnection: close\r\n\r\n`);
    }
  });
}

/**
 * Gathers the writes of one turn of the event loop into one. Machines' messages to a node are small: sent separately,
 * each would cost a TLS record and a system call.
 */
function gatherWrites(socket: Duplex): () => void {
  let gathering = false;
  return () => {
    if (gathering) return;
    gathering = true;
    socket.cork();
    setImmediate(() => {
      gathering = false;
      socket.uncork();
    });
  };
}

function peerOf(link: WebSocket, beforeSend: () => void = () => undefined): Peer {
  return {
    send: (message) => {
      if (link.readyState !== link.OPEN) return;
      beforeSend();
      link.send(message);
    },
    close: () => link.terminate(),
  };
}

function serve(link: WebSocket, logger: Logger, onMessage: (bytes: Uint8Array) => void, onClose: () => void): void {
  link.binaryType = 'nodebuffer';
  link.on('message', (data: Buffer) => {
    try {
      onMessage(copyBytes(data));
    } catch (error) {
      logger.warn({ err: error }, 'link closed: the peer sent a message that it may not send');
      link.close(1008);
    }
  });
  link.on('error', () => link.terminate());
  link.on('close', onClose);
}
