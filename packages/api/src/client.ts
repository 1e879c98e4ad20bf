import { parse } from '@millrace/base';
import { errorOfProblem, MillraceError } from '@millrace/base/core';
import type { z } from 'zod';
import type { Page } from './fields.ts';
import {
  type Content,
  contentTypes,
  type Fields,
  IDEMPOTENCY_HEADER,
  isRoute,
  type Method,
  type ReceivedOf,
  type Route,
  type RouteTree,
  type SentOf,
} from './route.ts';

/** Sends requests. Implementations: the HTTP client of @millrace/protocol, and `fetchTransport`. */
export interface Transport {
  /** @throws {MillraceError} the code that the server answered, E_UNAVAILABLE or E_TIMEOUT */
  call(method: Method, path: string, request: TransportRequest): Promise<TransportReply>;
}

export interface TransportRequest {
  readonly json?: unknown;
  readonly body?: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  readonly poll: boolean;
}

export interface TransportReply {
  /** 200, or 204 without a body. */
  readonly status: number;
  readonly body: Uint8Array<ArrayBuffer>;
  json(): unknown;
}

/** Deterministic CBOR, used by the routes of nodes. */
export interface CborCodec {
  encode(value: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}

export interface Connection {
  readonly transport: Transport;
  readonly cbor?: CborCodec;
}

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** For a write: a repeated request with the same key gets the first answer. */
  readonly idempotencyKey?: string;
}

/** `unknown` if no fields are declared: a strict empty object would forbid the other fields. */
type FieldsOf<F extends Fields> = keyof F['shape'] extends never ? unknown : z.input<F>;

/** Parameters of path and query by name, and the body. */
export type ArgumentsOf<R extends Route> = FieldsOf<R['params']> &
  FieldsOf<R['query']> &
  (R['body'] extends { kind: 'none' | 'empty' } ? unknown : { readonly body: SentOf<R['body']> });

export type CallOf<R extends Route> = (
  ...call: Record<never, never> extends ArgumentsOf<R>
    ? [values?: ArgumentsOf<R>, options?: RequestOptions]
    : [values: ArgumentsOf<R>, options?: RequestOptions]
) => Promise<ReceivedOf<R['answer']>>;

export type ApiClient<T extends RouteTree> = {
  readonly [N in keyof T]: T[N] extends Route ? CallOf<T[N]> : T[N] extends RouteTree ? ApiClient<T[N]> : never;
};

/** Methods for all routes, by name: `client.prints.list({ limit: 10 })`. */
export function createApiClient<T extends RouteTree>(routes: T, connection: Connection): ApiClient<T> {
  const entries = Object.entries(routes).map(([name, entry]) => [
    name,
    isRoute(entry)
      ? (values?: Values, options?: RequestOptions) => callRoute(connection, entry, values, options)
      : createApiClient(entry, connection),
  ]);
  return Object.fromEntries(entries) as ApiClient<T>;
}

type Values = Readonly<Record<string, unknown>>;

/**
 * @throws {MillraceError} the error that the server answered; E_UNAVAILABLE if the answer does not match the
 *   declaration
 */
async function callRoute(
  { transport, cbor }: Connection,
  route: Route,
  values: Values = {},
  { signal, timeoutMs, headers = {}, idempotencyKey }: RequestOptions = {},
): Promise<unknown> {
  const reply = await transport.call(route.method, pathOf(route, values), {
    ...sent(route.body, values.body, cbor),
    headers: { ...headers, ...(idempotencyKey === undefined ? {} : { [IDEMPOTENCY_HEADER]: idempotencyKey }) },
    signal,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    poll: route.waits,
  });
  const { answer } = route;
  if (answer.kind === 'events') throw new MillraceError('E_INTERNAL', 'events are read with EventSource');
  if (answer.kind === 'none' || answer.kind === 'empty' || (answer.kind === 'optional' && reply.status === 204))
    return undefined;
  if (answer.kind === 'bytes' || answer.kind === 'text') return reply.body;
  const value = answer.kind === 'cbor' ? codecOf(cbor).decode(reply.body) : reply.json();
  return parse(answer.schema, value, `answer of the node (${route.path})`, 'E_UNAVAILABLE');
}

function sent(body: Content, value: unknown, cbor: CborCodec | undefined): Pick<TransportRequest, 'json' | 'body'> {
  if (body.kind === 'none' || body.kind === 'empty') return {};
  if (body.kind === 'json' || body.kind === 'optional') return { json: value };
  return { body: body.kind === 'cbor' ? codecOf(cbor).encode(value) : (value as Uint8Array) };
}

function codecOf(cbor: CborCodec | undefined): CborCodec {
  if (cbor === undefined) throw new MillraceError('E_INTERNAL', 'this client has no CBOR');
  return cbor;
}

/** Fills in the path and adds the query. */
export function pathOf(route: Route, values: Values): string {
  const path = route.path.replace(/\{(\w+)(\*?)\}/g, (_, name: string, rest: string) => {
    const value = String(values[name]);
    return rest === '' ? encodeURIComponent(value) : value.split('/').map(encodeURIComponent).join('/');
  });
  const query = Object.keys(route.query.shape).flatMap((name) =>
    values[name] === undefined ? [] : [`${name}=${encodeURIComponent(String(values[name]))}`],
  );
  return query.length === 0 ? path : `${path}?${query.join('&')}`;
}

/** All items of a list: `everyPage((cursor) => client.prints.list({ cursor }))`. */
export async function everyPage<T>(read: (cursor: string | undefined) => Promise<Page<T>>): Promise<T[]> {
  const items: T[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await read(cursor);
    items.push(...page.items);
    if (page.next === undefined) return items;
    cursor = page.next;
  }
}

/** A transport that uses the browser's `fetch`: the browser chooses the certificate. @param base "https://host:port" */
export function fetchTransport(base: string, send: typeof fetch = fetch): Transport {
  return {
    call: async (method, path, { json, body, headers, signal, timeoutMs = 30_000 }) => {
      const payload = json === undefined ? body : JSON.stringify(json);
      const type = json === undefined ? contentTypes.bytes : contentTypes.json;
      const limits = [AbortSignal.timeout(timeoutMs), ...(signal === undefined ? [] : [signal])];
      let response: Response;
      let bytes: Uint8Array<ArrayBuffer>;
      try {
        response = await send(base + path, {
          method,
          headers: { ...headers, ...(payload === undefined ? {} : { 'content-type': type }) },
          ...(payload === undefined ? {} : { body: payload as BodyInit }),
          signal: AbortSignal.any(limits),
        });
        bytes = new Uint8Array(await response.arrayBuffer());
      } catch (cause) {
        if (signal?.aborted) throw signal.reason;
        const late = cause instanceof Error && cause.name === 'TimeoutError';
        const what = late ? 'no answer in time' : 'no answer';
        throw new MillraceError(late ? 'E_TIMEOUT' : 'E_UNAVAILABLE', `${method} ${path}: ${what}`, { cause });
      }
      const reply = { status: response.status, body: bytes, json: () => jsonOf(bytes) };
      if (response.ok) return reply;
      throw refusalOf(reply) ?? new MillraceError('E_UNAVAILABLE', `the server answered ${response.status}`);
    },
  };
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (cause) {
    throw new MillraceError('E_UNAVAILABLE', 'the answer is not JSON', { cause });
  }
}

function refusalOf(reply: TransportReply): MillraceError | undefined {
  try {
    return errorOfProblem(reply.json());
  } catch {
    return undefined; // a proxy answered
  }
}
