import type { ClientRequest } from 'node:http';
import { Agent, request as httpsRequest, type RequestOptions } from 'node:https';
import { type PeerCertificate, TLSSocket } from 'node:tls';
import { type Bytes, concatBytes, errorOfProblem, MillraceError, utf8 } from '@millrace/base';
import type { TlsIdentity } from '@millrace/identity';
import { Callers } from './callers.ts';
import { type Address, type Directory, fingerprintsOf } from './directory.ts';
import { PROTOCOL_HEADER, protocolHeaders, requireNear } from './version.ts';

export interface TlsOptions {
  /** CA certificates of the installation, PEM, concatenated. */
  readonly authority: string;
  readonly identity: TlsIdentity;
  /** SHA-256 of the accepted certificate, or certificates, of the other side. */
  readonly pin: string | readonly string[];
}

/** SNI name for clients of control that have no certificate yet. Not a host name. */
export const GUEST_NAME = 'guest.millrace.invalid';

/** TLS settings of a client without a certificate. */
export interface GuestTls {
  /** Undefined before the directory is known. In that case, trust only answers that the administrator signed. */
  readonly directory: Directory | undefined;
  /** An API token, which identifies the client in every request. */
  readonly token?: string | undefined;
}

/**
 * TLS options for a node. The directory is read when a connection is made.
 * @param node a role, or the id of one node
 */
export function tlsTo(directory: Directory, node: string, identity: () => TlsIdentity): TlsOptions {
  return {
    get authority() {
      return directory.authority;
    },
    get identity() {
      return identity();
    },
    get pin() {
      return fingerprintsOf(directory, node);
    },
  };
}

/** Client options for node:https, node:tls and ws: TLS 1.3, our certificate, one pinned peer. */
export function clientTls({ authority, identity, pin }: TlsOptions) {
  return {
    ca: authority,
    cert: identity.certificate,
    key: Buffer.from(identity.key),
    minVersion: 'TLSv1.3' as const,
    checkServerIdentity: checkPin(pin),
  };
}

/** Whether the certificate is one of those that the other side may have. */
export function isPinned(
  certificate: Pick<PeerCertificate, 'fingerprint256'> | undefined,
  pin: string | readonly string[],
): boolean {
  const seen = certificate?.fingerprint256.replaceAll(':', '').toLowerCase();
  return seen !== undefined && [pin].flat().includes(seen);
}

/** Checks the certificate only. Host names add nothing to a pin. */
function checkPin(pin: string | readonly string[]) {
  return (_host: string, certificate: PeerCertificate): Error | undefined =>
    isPinned(certificate, pin)
      ? undefined
      : new MillraceError('E_AUTH', 'the server’s certificate does not match the pin');
}

function guestTls({ directory }: GuestTls) {
  const common = { servername: GUEST_NAME, minVersion: 'TLSv1.3' as const };
  if (directory === undefined) return { ...common, rejectUnauthorized: false };
  return { ...common, ca: directory.authority, checkServerIdentity: checkPin(fingerprintsOf(directory, 'control')) };
}

export interface Reply {
  readonly status: number;
  readonly body: Bytes;
  json(): unknown;
}

export interface CallOptions {
  readonly json?: unknown;
  readonly body?: Uint8Array;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  /** A long poll. It must not occupy a connection that other calls need. */
  readonly poll?: boolean;
}

export interface HttpClient {
  /** @throws {MillraceError} the code that the server returned, E_UNAVAILABLE, E_TIMEOUT or E_VERSION */
  call(method: 'GET' | 'POST' | 'PUT' | 'DELETE', path: string, options?: CallOptions): Promise<Reply>;
  close(): void;
}

const MAX_REPLY = 64 * 1024 * 1024;

/**
 * Bodies above this size, bytes, are sent only after the server asks for them (100-continue). A server that refuses
 * during a transfer closes the connection, and its answer may be lost.
 */
const ASK_FIRST = 1 << 20;

/** Time for an answer to the question whether a node is active, ms. */
const HEALTH_MS = 1_000;

/**
 * Time for a new connection, with its TLS handshake, if there are other addresses, ms. A frozen process takes
 * connections and answers none. Nothing was sent before the handshake has ended, so the call may go to another address.
 */
const CONNECT_MS = 2_000;

/** Maximum number of connections for calls. Further calls wait. */
const CALLS_AT_ONCE = 16;

/** @param options.addresses of the node, or of several nodes of a role, of which one is asked */
export function createHttpClient(options: {
  addresses: () => readonly Address[];
  /** Whether the caller knows other nodes for its calls: they leave a frozen one within seconds, with E_UNAVAILABLE. */
  leaves?: () => boolean;
  tls: TlsOptions | GuestTls;
  /** W3C `traceparent` of the work that a call belongs to. */
  traceparent?: () => string | undefined;
}): HttpClient {
  const calls = new Agent({ keepAlive: true, maxSockets: CALLS_AT_ONCE });
  // Unlimited: the callers bound the number of polls (one per mailbox, one per connected machine).
  const polls = new Agent({ keepAlive: true });
  const tls = () => ('directory' in options.tls ? guestTls(options.tls) : clientTls(options.tls));
  const token = 'directory' in options.tls ? options.tls.token : undefined;
  const own = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const callers = new Callers(
    options.addresses,
    async (address) => {
      const asked = send(polls, tls(), address, 'GET', '/healthz', { timeoutMs: HEALTH_MS });
      return options.leaves?.() === true ? isAnswered(asked) : (await asked).status === 200;
    },
    options.leaves,
  );
  return {
    call: (method, path, call = {}) =>
      callers.call((address, give) => {
        const headers = { ...call.headers, ...own, ...traceHeader(options.traceparent?.()) };
        return send(call.poll === true ? polls : calls, tls(), address, method, path, { ...call, headers }, give);
      }, call.signal),
    close: () => {
      callers.close();
      calls.destroy();
      polls.destroy();
    },
  };
}

/** Whether any answer comes, also a refusal. */
async function isAnswered(asked: Promise<unknown>): Promise<boolean> {
  try {
    await asked;
    return true;
  } catch (error) {
    return error instanceof MillraceError && error.code !== 'E_UNAVAILABLE' && error.code !== 'E_TIMEOUT';
  }
}

function traceHeader(traceparent: string | undefined): Record<string, string> {
  return traceparent === undefined ? {} : { traceparent };
}

function send(
  agent: Agent,
  tls: object,
  address: Address,
  method: string,
  path: string,
  { json, body, timeoutMs = 30_000, signal, headers = {} }: CallOptions,
  give?: AbortSignal,
): Promise<Reply> {
  const payload = json === undefined ? body : utf8(JSON.stringify(json));
  const asking = payload !== undefined && payload.length > ASK_FIRST;
  const request: RequestOptions = {
    ...tls,
    ...address,
    agent,
    method,
    path,
    timeout: timeoutMs,
    ...(signal === undefined ? {} : { signal }),
    headers: {
      ...headers,
      ...protocolHeaders,
      ...(payload === undefined ? {} : { 'content-length': payload.length }),
      ...(asking ? { expect: '100-continue' } : {}),
      ...(json !== undefined
        ? { 'content-type': 'application/json' }
        : payload === undefined
          ? {}
          : { 'content-type': 'application/octet-stream' }),
    },
  };
  return new Promise((resolve, reject) => {
    const fail = (cause: unknown) => {
      if (signal?.aborted) return reject(signal.reason);
      if (cause instanceof MillraceError) return reject(cause);
      const reason = cause instanceof Error ? cause.message : String(cause);
      reject(
        new MillraceError('E_UNAVAILABLE', `${address.host}:${address.port} does not answer (${reason})`, { cause }),
      );
    };
    const outgoing = httpsRequest(request, (response) => {
      const chunks: Uint8Array[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_REPLY) response.destroy(new MillraceError('E_TOO_LARGE', 'the answer is too large'));
        chunks.push(chunk);
      });
      response.on('error', fail);
      response.on('end', () => {
        // The server refused before the body was sent, so the connection cannot be reused.
        if (!outgoing.writableEnded) outgoing.destroy();
        const reply = toReply(response.statusCode ?? 0, concatBytes(...chunks));
        try {
          requireNear(response.headers[PROTOCOL_HEADER], `${address.host}:${address.port}`);
        } catch (error) {
          return reject(error);
        }
        if (reply.status >= 400) reject(errorOf(reply));
        else resolve(reply);
      });
    });
    outgoing.on('timeout', () =>
      outgoing.destroy(new MillraceError('E_TIMEOUT', `${method} ${path}: no answer in time`)),
    );
    outgoing.on('error', fail);
    give?.addEventListener('abort', () => outgoing.destroy(give.reason), { once: true });
    if (give !== undefined) limitConnecting(outgoing);
    if (!asking) return void outgoing.end(payload);
    outgoing.once('continue', () => outgoing.end(payload));
    outgoing.flushHeaders();
  });
}

function limitConnecting(outgoing: ClientRequest): void {
  outgoing.once('socket', (socket) => {
    if (socket instanceof TLSSocket && socket.getFinished() !== undefined) return; // the handshake ended before
    const cause = Object.assign(new Error('no TLS handshake in time'), { syscall: 'connect' });
    const timer = setTimeout(() => outgoing.destroy(cause), CONNECT_MS);
    socket.once('secureConnect', () => clearTimeout(timer));
    socket.once('close', () => clearTimeout(timer));
  });
}

function toReply(status: number, body: Bytes): Reply {
  return {
    status,
    body,
    json: () => {
      try {
        return JSON.parse(new TextDecoder().decode(body));
      } catch (cause) {
        throw new MillraceError('E_INPUT', 'the answer is not JSON', { cause });
      }
    },
  };
}

function errorOf(reply: Reply): MillraceError {
  let error: MillraceError | undefined;
  try {
    error = errorOfProblem(reply.json());
  } catch {
    // a proxy answered
  }
  return error ?? new MillraceError('E_UNAVAILABLE', `the server answered ${reply.status}`);
}
