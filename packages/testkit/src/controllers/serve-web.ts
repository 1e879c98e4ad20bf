import { createServer, type IncomingHttpHeaders, type RequestListener } from 'node:http';
import { type WebSocket, WebSocketServer } from 'ws';

export interface WebService {
  /** Path of the websocket. */
  readonly path: string;
  /** Refuses a websocket by its headers. */
  readonly admits?: (headers: IncomingHttpHeaders) => boolean;
  readonly answer: RequestListener;
  readonly connected: (socket: WebSocket) => void;
  /** Does not answer pings. */
  readonly mute?: boolean;
}

/** An HTTP server with a websocket. */
export interface ServedWeb {
  readonly url: string;
  readonly sockets: ReadonlySet<WebSocket>;
  /** Cuts all connections of the websocket. */
  drop(): void;
  close(): Promise<void>;
}

export async function serveWeb({ path, admits, answer, connected, mute = false }: WebService): Promise<ServedWeb> {
  const server = createServer(answer);
  const verifyClient = ({ req }: { req: { headers: IncomingHttpHeaders } }) => admits?.(req.headers) ?? true;
  const sockets = new WebSocketServer({ server, path, verifyClient, autoPong: !mute });
  sockets.on('connection', connected);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const drop = () => {
    for (const socket of sockets.clients) socket.terminate();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    sockets: sockets.clients,
    drop,
    close: async () => {
      drop();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}
