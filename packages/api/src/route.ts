import type { ErrorCode } from '@millrace/base/core';
import { z } from 'zod';
import type { Action } from './actions.ts';

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE';

/** Kinds of callers, from their certificates. A guest has no certificate. */
export type Caller = 'guest' | 'user' | 'machine' | 'control' | 'segments' | 'keys' | 'distribution';

/** Encoding of a request body or an answer. */
export type Content<S extends z.ZodType = z.ZodType> =
  | { readonly kind: 'none' }
  /** Of an answer: 204 without a body. */
  | { readonly kind: 'empty' }
  | { readonly kind: 'json'; readonly schema: S }
  /** JSON, or 204 with an empty body if there is no answer. */
  | { readonly kind: 'optional'; readonly schema: S }
  /** Deterministic CBOR. */
  | { readonly kind: 'cbor'; readonly schema: S }
  /** Of an answer: server-sent events, until either side ends them. */
  | { readonly kind: 'events' }
  | { readonly kind: 'bytes' }
  | { readonly kind: 'text' };

export type Fields = z.ZodObject;

/** One HTTP route, which servers mount, clients call and the OpenAPI document lists. */
export interface Route<
  P extends Fields = Fields,
  Q extends Fields = Fields,
  H extends Fields = Fields,
  B extends Content = Content,
  A extends Content = Content,
> {
  readonly method: Method;
  /** "/v1/prints/{id}"; "{path*}" at the end matches the rest of the path. */
  readonly path: string;
  readonly summary: string;
  readonly callers: readonly Caller[];
  /** Action on which the policy decides. */
  readonly action: Action;
  readonly params: P;
  readonly query: Q;
  /** Headers that the route reads, by lower-case name. */
  readonly headers: H;
  readonly body: B;
  readonly answer: A;
  /** Errors in addition to those that any route may answer. */
  readonly errors: readonly ErrorCode[];
  /** Whether the answer waits for an event. Callers keep a connection for it. */
  readonly waits: boolean;
  /** Maximum body, bytes. Default: the server's limit. */
  readonly maxBody?: number | undefined;
}

export type RouteTree = { readonly [name: string]: Route | RouteTree };

/** Type of a body as a handler receives it, and of an answer as a client receives it. */
export type ReceivedOf<C extends Content> = C extends { schema: infer S extends z.ZodType }
  ? z.output<S> | (C extends { kind: 'optional' } ? undefined : never)
  : C extends { kind: 'none' | 'empty' }
    ? undefined
    : Uint8Array<ArrayBuffer>;

/** One event of a stream. Without an id it is not told again. */
export interface ServerEvent {
  readonly event: string;
  readonly id?: string | undefined;
  readonly data?: unknown;
}

/** A stream of events as a handler returns it. */
export interface EventFeed {
  /** Begins. `send` never waits; the caller of a slow reader is disconnected. @returns how to stop */
  start(send: (event: ServerEvent) => void, end: () => void): () => void;
}

/** Type of an answer as a handler returns it, and of a body as a client sends it. */
export type SentOf<C extends Content> = C extends { kind: 'events' } ? EventFeed : SentContentOf<C>;
type SentContentOf<C extends Content> = C extends { schema: infer S extends z.ZodType }
  ? z.input<S> | (C extends { kind: 'optional' } ? undefined : never)
  : C extends { kind: 'none' | 'empty' }
    ? undefined
    : Uint8Array;

/** Errors that any route may answer. */
export const commonErrors = [
  'E_AUTH',
  'E_REVOKED',
  'E_TOKEN',
  'E_SCOPE',
  'E_RATE',
  'E_INPUT',
  'E_TOO_LARGE',
  'E_INTERNAL',
  'E_STORE',
  'E_CONFIG',
  'E_DISK_FULL',
  'E_READ_ONLY',
  'E_UNAVAILABLE',
  'E_TIMEOUT',
  'E_VERSION',
] as const satisfies readonly ErrorCode[];

const none = z.strictObject({});
type None = typeof none;
/** Other headers are allowed. */
const anyHeaders = z.object({});
type Nothing = { readonly kind: 'none' };

interface Declaration<P, Q, H, B, A> {
  readonly summary: string;
  readonly callers: readonly Caller[];
  readonly action: Action;
  readonly params?: P;
  readonly query?: Q;
  readonly headers?: H;
  readonly body?: B;
  readonly answer?: A;
  readonly errors?: readonly ErrorCode[];
  readonly waits?: boolean;
  readonly maxBody?: number;
}

export function route<
  P extends Fields = None,
  Q extends Fields = None,
  H extends Fields = typeof anyHeaders,
  B extends Content = Nothing,
  A extends Content = Nothing,
>(method: Method, path: string, declared: Declaration<P, Q, H, B, A>): Route<P, Q, H, B, A> {
  return {
    method,
    path,
    summary: declared.summary,
    callers: declared.callers,
    action: declared.action,
    params: declared.params ?? (none as Fields as P),
    query: declared.query ?? (none as Fields as Q),
    headers: declared.headers ?? (anyHeaders as Fields as H),
    body: declared.body ?? ({ kind: 'none' } as Content as B),
    answer: declared.answer ?? ({ kind: 'none' } as Content as A),
    errors: declared.errors ?? [],
    waits: declared.waits ?? false,
    maxBody: declared.maxBody,
  };
}

export const json = <S extends z.ZodType>(schema: S) => ({ kind: 'json', schema }) as const;
export const optional = <S extends z.ZodType>(schema: S) => ({ kind: 'optional', schema }) as const;
export const cbor = <S extends z.ZodType>(schema: S) => ({ kind: 'cbor', schema }) as const;
export const empty = { kind: 'empty' } as const;
export const events = { kind: 'events' } as const;
export const bytes = { kind: 'bytes' } as const;
export const text = { kind: 'text' } as const;

export const contentTypes = {
  json: 'application/json; charset=utf-8',
  optional: 'application/json; charset=utf-8',
  cbor: 'application/octet-stream',
  events: 'text/event-stream',
  bytes: 'application/octet-stream',
  text: 'text/plain; charset=utf-8',
} as const satisfies Record<Exclude<Content['kind'], 'none' | 'empty'>, string>;

/** The header that makes a write safe to repeat: the same key with the same request gets the first answer. */
export const IDEMPOTENCY_HEADER = 'idempotency-key';
export const idempotencyKey = z
  .string()
  .regex(/^[\x21-\x7e]{1,255}$/, { error: 'expected 1 to 255 visible characters' });

export function isWrite({ method }: Route): boolean {
  return method !== 'GET';
}

export function isRoute(entry: Route | RouteTree): entry is Route {
  return typeof entry.method === 'string' && typeof entry.path === 'string';
}

/** Every route of a tree with its dotted name ("prints.list"). */
export function routesOf(tree: RouteTree, prefix = ''): [string, Route][] {
  return Object.entries(tree).flatMap(([name, entry]) =>
    isRoute(entry) ? [[prefix + name, entry] as [string, Route]] : routesOf(entry, `${prefix}${name}.`),
  );
}
