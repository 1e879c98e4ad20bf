import { X509Certificate } from 'node:crypto';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { partyOf, type TlsIdentity } from '@millrace/identity';
import { type Address, clientTls } from '@millrace/protocol';
import type { Recording } from './recording.ts';
import type { Haystack } from './scan.ts';
import { webSocketPayloads } from './streams.ts';

export interface RecorderOptions {
  readonly node: 'control' | 'distribution';
  readonly target: Address;
  readonly authority: string;
  /** The node's certificate and key, with which the proxy impersonates the node. */
  readonly identity: TlsIdentity;
  /** SHA-256 of the node's certificate. */
  readonly pin: string;
  /** Certificates and keys of all callers, with which the proxy impersonates a caller. */
  readonly callers: readonly TlsIdentity[];
}

interface Link extends Omit<Recording, 'up' | 'down'> {
  readonly up: Uint8Array[];
  readonly down: Uint8Array[];
}

/** A proxy on a link that has the TLS keys of both ends, so that every pin matches. It records the plaintext. */
export class Recorder {
  readonly address: Address;
  readonly #links: Link[] = [];
  readonly #close: () => Promise<void>;

  private constructor(address: Address, links: Link[], close: () => Promise<void>) {
    this.address = address;
    this.#links = links;
    this.#close = close;
  }

  static async open(options: RecorderOptions): Promise<Recorder> {
    const links: Link[] = [];
    const sockets = new Set<TLSSocket>();
    const callers = new Map(options.callers.map((caller) => [fingerprintOf(caller), caller]));
    const server = createServer(
      {
        ca: options.authority,
        cert: options.identity.certificate,
        key: Buffer.from(options.identity.key),
        minVersion: 'TLSv1.3',
        requestCert: true,
        rejectUnauthorized: true,
      },
      (inner) => {
        const certificate = inner.getPeerX509Certificate();
        const caller = certificate && callers.get(certificate.fingerprint256);
        const party = certificate && partyOf(certificate);
        if (caller === undefined || party === undefined) return inner.destroy();
        const outer = connect({
          ...options.target,
          ...clientTls({ authority: options.authority, identity: caller, pin: options.pin }),
        });
        const { role } = party;
        const link: Link = {
          node: options.node,
          role,
          party: 'name' in party ? `${role} ${party.name}` : role,
          up: [],
          down: [],
        };
        links.push(link);
        join(inner, outer, link, sockets);
      },
    );
    server.on('tlsClientError', () => undefined); // TLS reports it to the caller
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(0, '127.0.0.1', resolve);
    });
    const bound = server.address();
    if (bound === null || typeof bound === 'string') throw new Error('no address');
    const close = () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      });
    return new Recorder({ host: '127.0.0.1', port: bound.port }, links, close);
  }

  recordings(): Recording[] {
    return this.#links.map((link) => ({ ...link, up: Buffer.concat(link.up), down: Buffer.concat(link.down) }));
  }

  close(): Promise<void> {
    return this.#close();
  }
}

function join(inner: TLSSocket, outer: TLSSocket, link: Link, sockets: Set<TLSSocket>): void {
  for (const socket of [inner, outer]) {
    sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      sockets.delete(socket);
      inner.destroy();
      outer.destroy();
    });
  }
  inner.on('data', (chunk: Buffer) => link.up.push(chunk));
  outer.on('data', (chunk: Buffer) => link.down.push(chunk));
  inner.pipe(outer);
  outer.pipe(inner);
}

function fingerprintOf({ certificate }: TlsIdentity): string {
  return new X509Certificate(certificate).fingerprint256;
}

/** The recorded data in searchable form: raw bytes, and unmasked WebSocket messages. */
export function* haystacksOf(recordings: readonly Recording[]): Generator<Haystack> {
  for (const { party, node, up, down } of recordings) {
    for (const [bytes, way] of [
      [up, `${party} → ${node}`],
      [down, `${node} → ${party}`],
    ] as const) {
      yield { name: way, bytes };
      const payloads = webSocketPayloads(bytes);
      if (payloads.length > 0) yield { name: `${way} (messages)`, bytes: Buffer.concat(payloads) };
    }
  }
}
