import {
  type Content,
  contentTypes,
  type EventFeed,
  IDEMPOTENCY_HEADER,
  idempotencyKey,
  isRoute,
  isWrite,
  type ReceivedOf,
  type Route,
  type RouteTree,
  routesOf,
  type SentOf,
} from '@millrace/api';
import { type Bytes, copyBytes, decodeCbor, encodeCbor, MillraceError, parse, utf8 } from '@millrace/base';
import type { FastifyReply, FastifyRequest, HTTPMethods } from 'fastify';
import { z } from 'zod';
import { sendEvents } from './event-stream.ts';
import type { Answer, IdempotentAnswers } from './idempotency.ts';
import { type Actor, authorize, type Resource } from './policy.ts';
import type { TlsServer } from './server.ts';

/** A request whose parts have all been validated against the schemas. */
export interface Call<R extends Route> {
  readonly params: z.output<R['params']>;
  readonly query: z.output<R['query']>;
  readonly headers: z.output<R['headers']>;
  readonly body: ReceivedOf<R['body']>;
  readonly actor: Actor;
  /** For handlers of sessions, which read and set cookies. */
  readonly request: FastifyRequest;
  readonly answerHeader: (name: string, value: string) => void;
  /** IP address of the caller. */
  readonly address: string;
  /**
   * Checks by the policy that the caller may perform the route's action on the resource. Every handler calls it as soon
   * as it has the resource.
   * @throws {MillraceError} E_FORBIDDEN
   */
  readonly allow: <T extends Resource>(resource?: T) => T;
  /** The caller as it is now: a stream ends with the session, key or role that opened it. @throws {MillraceError} */
  readonly renewed: () => Promise<Actor>;
  /** Aborts when the caller disconnects, so that a long poll ends with its connection. */
  readonly gone: AbortSignal;
}

export type Handler<R extends Route> = (
  call: Call<R>,
) =>
  | Promise<SentOf<R['answer']>>
  | SentOf<R['answer']>
  | (SentOf<R['answer']> extends undefined ? Promise<void> : never);

export type Handlers<T extends RouteTree> = {
  readonly [N in keyof T]: T[N] extends Route ? Handler<T[N]> : T[N] extends RouteTree ? Handlers<T[N]> : never;
};

export interface MountOptions {
  /** @throws {MillraceError} E_AUTH */
  readonly actorOf: (request: FastifyRequest) => Actor | Promise<Actor>;
  readonly answers: IdempotentAnswers;
  /**
   * The caller of a stream as it is now. Default: as `actorOf`.
   * @throws {MillraceError} if it may not go on
   */
  readonly renewedActor?: (request: FastifyRequest) => Promise<Actor>;
  /** Called for every request of a party that may use the route, not for guests. */
  readonly onCall?: (actor: Exclude<Actor, { role: 'guest' }>) => void;
}

type AnyHandler = (call: Call<Route>) => unknown;

/** Stored answers belong to this name. An API token does not get the answers that its person got. */
function callerName(actor: Actor): string {
  const name = `${actor.role}/${'name' in actor ? actor.name : actor.id}`;
  return actor.role === 'user' && actor.token !== undefined ? `${name}/${actor.token.id}` : name;
}

/** Serves the routes. Checks caller, parameters, body and answer against the declaration. */
export function mountRoutes<T extends RouteTree>(
  server: TlsServer,
  routes: T,
  handlers: Handlers<T>,
  options: MountOptions,
): void {
  const methods = new Map<string, Set<string>>();
  mountTree(server, routes, handlers as Tree, options);
  for (const [, route] of routesOf(routes)) {
    const allowed = methods.get(urlOf(route)) ?? new Set(['OPTIONS']);
    allowed.add(route.method);
    if (route.method === 'GET' && !route.waits) allowed.add('HEAD');
    methods.set(urlOf(route), allowed);
  }
  for (const [url, allowed] of methods) refuseOthers(server, url, allowed);
}

interface Tree {
  readonly [name: string]: AnyHandler | Tree;
}

function mountTree(server: TlsServer, routes: RouteTree, handlers: Tree, options: MountOptions): void {
  for (const [name, entry] of Object.entries(routes)) {
    const handler = handlers[name];
    if (isRoute(entry)) mountRoute(server, entry, handler as AnyHandler, options);
    else mountTree(server, entry, handler as Tree, options);
  }
}

function mountRoute(server: TlsServer, route: Route, handler: AnyHandler, options: MountOptions): void {
  const actors = new WeakMap<FastifyRequest, Actor>();
  server.route({
    method: route.method,
    url: urlOf(route),
    // Waiting routes consume what they return, so they do not answer HEAD.
    exposeHeadRoute: route.method === 'GET' && !route.waits,
    ...(route.maxBody === undefined ? {} : { bodyLimit: route.maxBody }),
    config: { waits: route.waits === true || route.answer.kind === 'events' },
    // Refuse unknown callers before their body is read.
    onRequest: async (request) => {
      const actor = await options.actorOf(request);
      if (!route.callers.some((role) => role === actor.role))
        throw new MillraceError('E_AUTH', `not for the role ${actor.role}`);
      actors.set(request, actor);
      if (actor.role !== 'guest') options.onCall?.(actor);
    },
    handler: async (request, reply) => {
      const actor = actors.get(request) as Actor;
      // Answers of guests are not kept, because strangers must not fill the store.
      const renewed = async () => (options.renewedActor ?? options.actorOf)(request);
      const given = isWrite(route) ? request.headers[IDEMPOTENCY_HEADER] : undefined;
      const key = given === undefined ? undefined : parse(idempotencyKey, given, IDEMPOTENCY_HEADER);
      const write = () => run(route, handler, request, reply, { actor, renewed });
      const answer: Answer | EventFeed =
        key === undefined || actor.role === 'guest'
          ? await write()
          : await options.answers.once(
              {
                caller: callerName(actor),
                key,
                parts: [request.method, request.url, bytesOf(request.body)],
              },
              async () => (await write()) as Answer,
            );
      if ('start' in answer) return sendEvents(reply, answer);
      if (answer.status === 204) return reply.code(204).send();
      return reply.code(answer.status).type(answer.type).send(Buffer.from(answer.body));
    },
  });
}

async function run(
  route: Route,
  handler: AnyHandler,
  request: FastifyRequest,
  reply: FastifyReply,
  { actor, renewed }: Pick<Call<Route>, 'actor' | 'renewed'>,
): Promise<Answer | EventFeed> {
  let decided = false;
  const given = await handler({
    params: paramsOf(route, request),
    query: parse(route.query, request.query, 'query'),
    headers: parse(route.headers, request.headers, 'headers'),
    body: bodyOf(route.body, request.body) as never,
    actor,
    renewed,
    request,
    answerHeader: (name, value) => void reply.header(name, value),
    address: request.socket.remoteAddress ?? '',
    allow: <T extends Resource>(resource?: T) => {
      decided = true;
      authorize(actor, route.action, resource);
      return resource as T;
    },
    gone: goneSignal(reply),
  });
  if (!decided) throw new MillraceError('E_INTERNAL', `${route.method} ${route.path} did not check the policy`);
  return route.answer.kind === 'events' ? (given as EventFeed) : encode(route.answer, given);
}

/** @throws {MillraceError} for a malformed parameter: E_NOT_FOUND when the route reads, E_INPUT when it writes */
function paramsOf(route: Route, request: FastifyRequest): Record<string, unknown> {
  const { '*': rest, ...named } = request.params as Record<string, string>;
  const name = /\{(\w+)\*\}/.exec(route.path)?.[1];
  return parse(
    route.params,
    name === undefined ? named : { ...named, [name]: rest },
    'path',
    isWrite(route) ? 'E_INPUT' : 'E_NOT_FOUND',
  );
}

const empty = z.union([z.undefined(), z.null(), z.strictObject({})]);

/** @throws {MillraceError} E_INPUT */
function bodyOf(body: Content, received: unknown): unknown {
  switch (body.kind) {
    case 'none':
    case 'empty':
      parse(empty, received, 'body');
      return undefined;
    case 'json':
    case 'optional':
      if (received instanceof Uint8Array) throw new MillraceError('E_INPUT', 'the body has to be JSON');
      return parse(body.schema, received, 'body');
    case 'cbor':
      return parse(body.schema, decodeCbor(binaryOf(received), 'body'), 'body');
    default:
      return binaryOf(received);
  }
}

function binaryOf(received: unknown): Uint8Array {
  if (!(received instanceof Uint8Array)) throw new MillraceError('E_INPUT', 'the body has to be bytes');
  return received;
}

function bytesOf(received: unknown): Uint8Array {
  return received instanceof Uint8Array ? received : utf8(JSON.stringify(received) ?? '');
}

/** @throws {MillraceError} E_INTERNAL when the answer does not match the declared schema */
function encode(answer: Content, given: unknown): Answer {
  switch (answer.kind) {
    case 'none':
      return { status: 200, type: contentTypes.json, body: utf8('{}') };
    case 'empty':
      return { status: 204, type: contentTypes.json, body: new Uint8Array() };
    case 'optional':
      if (given === undefined) return { status: 204, type: contentTypes.json, body: new Uint8Array() };
      return { status: 200, type: contentTypes.json, body: jsonOf(answer.schema, given) };
    case 'json':
      return { status: 200, type: contentTypes.json, body: jsonOf(answer.schema, given) };
    case 'cbor': {
      const body = encodeCbor(parse(answer.schema, given, 'answer', 'E_INTERNAL') as never);
      return { status: 200, type: contentTypes.cbor, body };
    }
    default:
      return { status: 200, type: contentTypes[answer.kind], body: copyBytes(given as Uint8Array) };
  }
}

function jsonOf(schema: z.ZodType, given: unknown): Bytes {
  return utf8(JSON.stringify(parse(schema, given, 'answer', 'E_INTERNAL')));
}

function goneSignal(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => controller.abort());
  return controller.signal;
}

/** "/v1/prints/{id}" → "/v1/prints/:id". */
function urlOf({ path }: Route): string {
  return path.replace(/\{\w+\*\}/, '*').replace(/\{(\w+)\}/g, ':$1');
}

/** Answers 405 to undeclared methods of a path; OPTIONS lists the declared ones. */
function refuseOthers(server: TlsServer, url: string, allowed: ReadonlySet<string>): void {
  const allow = [...allowed].sort().join(', ');
  server.route({
    method: 'OPTIONS',
    url,
    handler: (_request, reply) => reply.code(204).header('allow', allow).send(),
  });
  server.route({
    method: server.supportedMethods.filter((method) => !allowed.has(method)) as HTTPMethods[],
    url,
    exposeHeadRoute: false,
    onRequest: async (request, reply) => {
      throw wrongMethod(request, reply, [...allowed].sort());
    },
    handler: () => undefined,
  });
}

/** The error for a method that a path does not have. Its answer lists those that it has. */
export function wrongMethod(
  { method }: Pick<FastifyRequest, 'method'>,
  reply: Pick<FastifyReply, 'header'>,
  allowed: readonly string[],
): MillraceError {
  const allow = allowed.join(', ');
  reply.header('allow', allow);
  return new MillraceError('E_METHOD', `${method} is not a method of this path: ${allow}`, {
    data: { allow: allowed },
  });
}
