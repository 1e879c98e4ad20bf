import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  commonErrors,
  controlRoutes,
  distributionRoutes,
  isWrite,
  type Route,
  type RouteTree,
  routesOf,
} from '@millrace/api';
import { MillraceError, silentLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { Revocations } from '@millrace/protocol';
import { SEGMENT_BYTES } from '@millrace/vault';
import { type FastifyRequest, fastify } from 'fastify';
import { CheckBoard } from '../src/control/checks.ts';
import { addRoutes } from '../src/control/routes.ts';
import { addRoutes as addDistributionRoutes } from '../src/distribution/routes.ts';
import { Tickets } from '../src/distribution/tickets.ts';
import { Uploads } from '../src/distribution/uploads.ts';
import { answersInMemory, IdempotentAnswers } from '../src/node/idempotency.ts';
import { type Actor, actorOf, guest } from '../src/node/policy.ts';
import { frameworkErrors, setUp, type TlsServer } from '../src/node/server.ts';
import { controlFixture } from './control-fixture.ts';

export const actors = [
  'admin',
  'owner',
  'otherOwner',
  'holder',
  'otherHolder',
  'machine',
  'segments',
  'keys',
  'distribution',
  'control',
  'anonymous',
] as const;
export type ActorName = (typeof actors)[number];

export type ApiFixture = Awaited<ReturnType<typeof apiFixture>>;

export type ServedNode = 'control' | 'distribution';

export interface Asked {
  /** Default: control. */
  readonly node?: ServedNode;
  readonly method: string;
  readonly path: string;
  readonly json?: unknown;
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * The whole API of control and of distribution, mounted on servers without TLS: the header `x-actor` stands for the
 * certificate. There is a design of `owner`, a licence for `holder`, and a print that has taken its object.
 */
export async function apiFixture() {
  const system = await controlFixture();
  const { context, keys } = system;
  const prepared = await system.prepare();
  const machine = await system.addMachine();
  const design = await system.stored(await system.addDesign(prepared));
  const licence = await system.grant(design, [machine]);
  const print = await system.print(licence, machine);
  const object = `${licence}-1`;
  await context.records.claims.create(`${licence}/1`, { print });
  await context.records.prints.update(print, (record) => ({ ...record, state: 'running', number: 1, object }));
  await context.ledger.append({
    account: object,
    type: 'ordered',
    actor: keyName(keys.holder.publicKey),
    body: { design },
    eventId: 'ordered',
  });

  const named = (name: string) => actorOf(context.directory, { role: 'user', name });
  const parties: Record<Exclude<ActorName, 'anonymous'>, Actor> = {
    admin: named(keyName(keys.admin.publicKey)),
    owner: named(keyName(keys.owner.publicKey)),
    holder: named(keyName(keys.holder.publicKey)),
    otherOwner: named(toHex(systemRandom(16))),
    otherHolder: named(toHex(systemRandom(16))),
    machine: { role: 'machine', name: machine.machine },
    segments: { role: 'segments', id: 'segments' },
    keys: { role: 'keys', id: 'keys' },
    distribution: { role: 'distribution', id: 'distribution' },
    control: { role: 'control', id: 'control' },
  };
  const actorBy = (request: FastifyRequest): Actor => {
    if (request.headers['x-actor'] === 'guest') return guest;
    const actor = parties[String(request.headers['x-actor']) as keyof typeof parties];
    if (actor === undefined) throw new MillraceError('E_AUTH', 'the certificate names no party');
    return actor;
  };
  /** Error responses with a code that the route does not declare. */
  const undeclared: string[] = [];
  const serverOf = (tree: RouteTree): TlsServer => {
    const server = fastify({ frameworkErrors });
    setUp(server, silentLogger);
    const declared = new Map(routesOf(tree).map(([, route]) => [`${route.method} ${urlOf(route)}`, codesOf(route)]));
    server.addHook('onSend', async (request, reply, payload) => {
      if (reply.statusCode < 400 || request.method === 'HEAD') return;
      const codes = declared.get(`${request.method} ${request.routeOptions.url}`);
      const { code } = JSON.parse(String(payload)) as { code: string };
      if (codes !== undefined && !codes.includes(code)) undeclared.push(`${request.method} ${request.url}: ${code}`);
    });
    return server;
  };
  const servers = { control: serverOf(controlRoutes), distribution: serverOf(distributionRoutes) };
  const directories = {
    sequence: 3,
    hash: 'ab'.repeat(32),
    offer: async () => true,
    signed: { directory: { sequence: 3 }, signature: 'ab' } as never,
    revocations: new Revocations(),
    offerRevocations: async () => true,
  };
  const checks = new CheckBoard(systemClock);
  const answers = await IdempotentAnswers.open(context.records.answers, systemClock);
  addRoutes(servers.control, context, { checks, answers, directories, actorOf: actorBy });
  const folder = await mkdtemp(join(tmpdir(), 'millrace api '));
  const uploads = new Uploads(folder);
  await uploads.put(design, '0', new Uint8Array(SEGMENT_BYTES), keyName(keys.owner.publicKey));
  addDistributionRoutes(servers.distribution, {
    uploads,
    tickets: new Tickets(context.directory, systemClock),
    directories,
    answers: await IdempotentAnswers.open(answersInMemory(), systemClock),
    actorOf: actorBy,
  });

  const ask = async (who: ActorName | 'guest', { node = 'control', method, path, json, body, headers = {} }: Asked) => {
    const payload = json === undefined ? body && Buffer.from(body) : JSON.stringify(json);
    const type = json === undefined ? 'application/octet-stream' : 'application/json';
    const answer = await servers[node].inject({
      method: method as 'GET',
      url: path,
      headers: { 'x-actor': who, ...(payload === undefined ? {} : { 'content-type': type }), ...headers },
      ...(payload === undefined ? {} : { payload }),
    });
    const [media = ''] = String(answer.headers['content-type'] ?? '').split(';');
    return {
      status: answer.statusCode,
      media,
      headers: answer.headers,
      text: answer.payload,
      bytes: new Uint8Array(answer.rawPayload),
    };
  };
  return {
    ...system,
    requestPrint: system.print,
    servers,
    undeclared,
    ask,
    prepared,
    machine,
    design,
    licence,
    print,
    object,
    close: async () => {
      await Promise.all(Object.values(servers).map((server) => server.close()));
      await uploads.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** "/v1/prints/{id}" → "/v1/prints/:id", the notation of fastify. */
const urlOf = ({ path }: Route): string => path.replace(/\{\w+\*\}/, '*').replace(/\{(\w+)\}/g, ':$1');

const codesOf = (route: Route): string[] => [
  ...commonErrors,
  ...route.errors,
  ...(isWrite(route) ? ['E_IDEMPOTENCY'] : []),
];

/** Every declared route: node, name, declaration. */
export const routes: readonly (readonly [ServedNode, string, Route])[] = [
  ...routesOf(controlRoutes).map(([name, route]) => ['control', name, route] as const),
  ...routesOf(distributionRoutes).map(([name, route]) => ['distribution', name, route] as const),
];
