import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import {
  type Closable,
  Closer,
  type Counter,
  copyBytes,
  type Logger,
  MillraceError,
  toMillraceError,
} from '@millrace/base';
import { type Addresses, createHttpClient, MAX_LINK_MESSAGE, nodesOf, tlsTo } from '@millrace/protocol';
import { type WebSocket, WebSocketServer } from 'ws';
import type { NodeConfig } from '../config.ts';
import { addDirectoryRoute, followDirectory } from '../node/follow-directory.ts';
import type { NodeModules } from '../node/modules.ts';
import { callerOf, createTlsServer, listen, requireRole, type TlsServer } from '../node/server.ts';
import type { Peer } from './calls.ts';
import { Relay } from './relay.ts';
import { TICKET_HEADER, Tickets } from './tickets.ts';
import type { Uploads } from './uploads.ts';

/** A running node; its parts serve as `ControlNode.context` does. */
export interface DistributionNode extends Closable {
  readonly relay: Relay;
  readonly uploads: Uploads;
  close(): Promise<void>;
}

/** The distribution node: the only one that machines reach. Stages uploads, relays streams; holds no keys, seeds or cells. */
export async function createDistributionNode(
  { id, config, addresses }: { id: string; config: NodeConfig; addresses: Addresses },
  { stores, clock, metrics, ...modules }: NodeModules<{ readonly uploads: Uploads }>,
): Promise<DistributionNode> {
  const closer = new Closer();
  const logger = modules.logger.child({ node: id, role: 'distribution' });
  const links = metrics.counter(
    'millrace_links_total',
    'links that were accepted or refused, by the role of the caller',
  );
  const { directory } = config;
  const control = closer.add(
    createHttpClient({
      address: () => addresses.control,
      tls: tlsTo(directory, 'control', () => config.tls),
    }),
  );
  const relay = new Relay(control, logger);
  const server = createTlsServer({ directory, tls: config.tls, logger, bodyLimit: 64 * 1024 });
  const { uploads } = stores;
  addUploadRoutes(server, config, uploads, new Tickets(directory, clock));
  acceptLinks(server, config, relay, { logger, links });
  const closeRemoved = () => relay.keepNodes((id) => nodesOf(directory, id).length > 0);
  addDirectoryRoute(server, config);
  closer.add(followDirectory(config, { server, control, logger, onChange: closeRemoved }));
  closer.add(await listen(server, addresses.distribution));
  closer.add({ close: () => relay.close() });
  return { relay, uploads, close: () => closer.close() };
}

type Params = { Params: { design: string; segment: string }; Querystring: { segments?: string } };

function addUploadRoutes(server: TlsServer, { directory }: NodeConfig, uploads: Uploads, tickets: Tickets): void {
  server.put<Params>('/v1/uploads/:design/:segment', async (request) => {
    const { name } = requireRole(directory, request, 'user');
    const { design, segment } = request.params;
    const { segments } = await tickets.require(request.headers[TICKET_HEADER], name, design);
    if (Number(segment) >= segments) throw new MillraceError('E_INPUT', `the design has ${segments} segments`);
    if (!(request.body instanceof Uint8Array))
      throw new MillraceError('E_INPUT', 'the body has to be a sealed segment');
    await uploads.put(design, segment, request.body, name);
    return {};
  });
  server.get<Params>('/v1/uploads/:design', async (request) => {
    const party = requireRole(directory, request, 'user', 'segments');
    if (party.role === 'user') await tickets.require(request.headers[TICKET_HEADER], party.name, request.params.design);
    const have = await uploads.have(request.params.design);
    const missing: number[] = [];
    const wanted = Number(request.query.segments ?? 0);
    for (let number = 0; number < wanted && missing.length < 1_000; number++)
      if (!have.has(number)) missing.push(number);
    return { have: have.size, missing };
  });
  server.get<Params>('/v1/uploads/:design/:segment', async (request, reply) => {
    requireRole(directory, request, 'segments');
    const sealed = await uploads.get(request.params.design, request.params.segment);
    return reply.type('application/octet-stream').send(Buffer.from(sealed));
  });
  server.delete<Params>('/v1/uploads/:design', async (request) => {
    requireRole(directory, request, 'segments');
    await uploads.wipe(request.params.design);
    return {};
  });
}

/** WebSockets of machines (`/v1/machine`) and of the proactive nodes (`/v1/node`). */
function acceptLinks(
  server: TlsServer,
  { directory }: NodeConfig,
  relay: Relay,
  { logger, links }: { logger: Logger; links: Counter },
): void {
  const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: MAX_LINK_MESSAGE });
  server.server.on('upgrade', (request, socket: Duplex, head) => {
    try {
      const party = callerOf(directory, (socket as TLSSocket).getPeerX509Certificate());
      if (request.url === '/v1/machine' && party.role === 'machine') {
        sockets.handleUpgrade(request, socket, head, (link) => {
          const peer = peerOf(link);
          relay.machineOpened(party.name, peer);
          links.add(1, { role: 'machine', outcome: 'accepted' });
          serve(
            link,
            logger,
            (bytes) => relay.fromMachine(party.name, bytes),
            () => relay.machineClosed(party.name, peer),
          );
        });
      } else if (request.url === '/v1/node' && (party.role === 'segments' || party.role === 'keys')) {
        const node = { id: party.id, role: party.role };
        sockets.handleUpgrade(request, socket, head, (link) => {
          const peer = peerOf(link, gatherWrites(socket));
          relay.nodeOpened(node, peer);
          links.add(1, { role: node.role, outcome: 'accepted' });
          serve(
            link,
            logger,
            (bytes) => relay.fromNode(node, bytes),
            () => relay.nodeClosed(node, peer),
          );
        });
      } else {
        throw new MillraceError('E_AUTH', 'no link for this party here');
      }
    } catch (error) {
      const { http, code } = toMillraceError(error);
      links.add(1, { role: 'unknown', outcome: 'refused' });
      logger.info({ code }, 'link refused');
      socket.end(`HTTP/1.1 ${http} Refused\r\nconnection: close\r\n\r\n`);
    }
  });
}

/**
 * What is written in one turn of the event loop goes out together: the messages of many machines to a node are small, and each
 * alone would be a record of TLS and a call of the system.
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
      logger.warn({ err: error }, 'link closed: its peer sent a message that it may not send');
      link.close(1008);
    }
  });
  link.on('error', () => link.terminate());
  link.on('close', onClose);
}
