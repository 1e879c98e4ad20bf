import { controlRoutes, type Route, routesOf } from '@millrace/api';
import { MillraceError, silentLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { fastify } from 'fastify';
import { CheckBoard } from '../src/control/checks.ts';
import { addRoutes } from '../src/control/routes.ts';
import { IdempotentAnswers } from '../src/node/idempotency.ts';
import { type Actor, actorOf } from '../src/node/policy.ts';
import { frameworkErrors, setUp } from '../src/node/server.ts';
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

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly json?: unknown;
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * The whole API of control, mounted on a server without TLS: the header `x-actor` stands for the certificate. There is a
 * design of `owner`, a licence for `holder`, and a print that has taken its object.
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
  const server = fastify({ frameworkErrors });
  setUp(server, silentLogger);
  const checks = new CheckBoard(systemClock);
  const answers = await IdempotentAnswers.open(context.records.answers, systemClock);
  addRoutes(server, context, {
    checks,
    answers,
    actorOf: (request) => {
      const actor = parties[String(request.headers['x-actor']) as keyof typeof parties];
      if (actor === undefined) throw new MillraceError('E_AUTH', 'the certificate names no party');
      return actor;
    },
  });

  const ask = async (who: ActorName, { method, path, json, body, headers = {} }: Asked) => {
    const payload = json === undefined ? body && Buffer.from(body) : JSON.stringify(json);
    const type = json === undefined ? 'application/octet-stream' : 'application/json';
    const answer = await server.inject({
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
    server,
    ask,
    prepared,
    machine,
    design,
    licence,
    print,
    object,
    close: () => server.close(),
  };
}

export const routes: readonly (readonly [string, Route])[] = routesOf(controlRoutes);
