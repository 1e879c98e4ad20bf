import { connect, type Socket } from 'node:net';
import { Closer, silentLogger, systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import { signTransaction } from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { fastify } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Change, Changes, isTold } from '../src/control/changes.ts';
import { CheckBoard } from '../src/control/checks.ts';
import { addConsoleRoutes } from '../src/control/console/routes.ts';
import { Sessions } from '../src/control/console/sessions.ts';
import { answersInMemory, IdempotentAnswers } from '../src/node/idempotency.ts';
import { setUp, type TlsServer } from '../src/node/server.ts';
import { fixtureWithMachine } from './control-fixture.ts';

const key = systemRandom(32);

const record = (owner: string, holder = owner) => ({ owner, holder });

describe('changes', () => {
  it('are told again after the one that a caller got last, the newest of each thing, in order', () => {
    const changes = new Changes(systemClock, systemRandom);
    const ids: string[] = [];
    changes.listen(({ number }) => ids.push(changes.idOf(number)));
    for (const id of ['a', 'b', 'a', 'c']) changes.wrote('print', id, record('o'));
    const missed = (event: string) => changes.since(event)?.map(({ id }) => id);
    expect(missed(ids[0] ?? '')).toEqual(['b', 'a', 'c']);
    expect(missed(ids[2] ?? '')).toEqual(['c']);
    expect(missed(ids[3] ?? '')).toEqual([]);
    changes.wrote('token', 'x', {});
    expect(missed(ids[3] ?? '')).toEqual([]);
  });

  it('of another process, invented, or no longer kept, mean that everything has to be read again', () => {
    const changes = new Changes(systemClock, systemRandom);
    changes.wrote('print', 'first', record('o'));
    const first = changes.idOf();
    const foreign = new Changes(systemClock, systemRandom).idOf(1);
    for (const id of ['', '1', 'x'.repeat(32), toHex(systemRandom(16)), foreign])
      expect([id, changes.since(id)]).toEqual([id, undefined]);
    for (let i = 0; i < 4_096; i++) changes.wrote('print', String(i), record('o'));
    expect(changes.since(first)).toHaveLength(4_096);
    changes.wrote('print', 'one more', record('o'));
    expect(changes.since(first)).toBeUndefined();
  });

  it('have ids that do not tell how many there were', () => {
    const changes = new Changes(systemClock, systemRandom);
    const ids = [1, 2, 3].map((number) => changes.idOf(number));
    expect(new Set(ids.map((id) => id.slice(0, 8))).size).toBe(3);
  });

  it('tell figures of one print at most once a second', () => {
    let now = 0;
    const changes = new Changes({ monotonic: () => now }, systemRandom);
    let told = 0;
    changes.listen(() => told++);
    for (now = 0; now < 5_000; now += 100) changes.figures({ print: 'p', ...record('o') });
    expect(told).toBe(5);
    expect(changes.since(changes.idOf())).toEqual([]);
  });

  it('are told to whom the lists show the thing', () => {
    const actor = { role: 'user', name: 'a'.repeat(32), admin: false } as const;
    const is = (change: Partial<Change>) => isTold(actor, { kind: 'licence', id: 'x', resource: {}, ...change });
    expect(is({ resource: { owner: actor.name } })).toBe(true);
    expect(is({ resource: { holder: actor.name } })).toBe(true);
    expect(is({ resource: { owner: 'b'.repeat(32) }, approvers: [actor.name] })).toBe(true);
    expect(is({ resource: { owner: 'b'.repeat(32) }, approvers: ['b'.repeat(32)] })).toBe(false);
    expect(is({ kind: 'machine' })).toBe(true);
    const token = { ...actor, token: { id: 't', scopes: ['prints:read' as const] } };
    expect(isTold(token, { kind: 'licence', id: 'x', resource: { owner: actor.name } })).toBe(false);
    expect(isTold(token, { kind: 'print', id: 'x', resource: { owner: actor.name } })).toBe(true);
  });
});

describe('a stream of events for a browser', () => {
  const ORIGIN = 'http://localhost:1';
  const closer = new Closer();
  let system: Awaited<ReturnType<typeof fixtureWithMachine>>;
  let server: TlsServer;
  let port: number;
  const now = systemClock.now();
  const clock = { now };

  beforeAll(async () => {
    system = await fixtureWithMachine(() => clock.now);
    server = fastify({ forceCloseConnections: true }) as unknown as TlsServer;
    setUp(server, silentLogger);
    addConsoleRoutes(server, system.fixture.context, {
      sessions: new Sessions(new MemoryRecords(), { clock: system.fixture.context.clock, random: systemRandom, key }),
      checks: new CheckBoard(systemClock),
      answers: await IdempotentAnswers.open(answersInMemory(), systemClock),
      directories: undefined,
      uploads: undefined,
      origin: () => ORIGIN,
      providers: {},
    });
    await server.listen({ host: '127.0.0.1', port: 0 });
    const address = server.server.address();
    port = typeof address === 'object' && address !== null ? address.port : 0;
    closer.add({ close: () => server.close() });
  });
  afterAll(() => closer.close());

  async function signIn(who: 'owner' | 'holder' | 'other'): Promise<string> {
    const { keys, context } = system.fixture;
    const body = { type: 'session.open', id: systemRandom(16), issued: now, expires: now + 600_000, origin: ORIGIN };
    const request = toBase64(await signTransaction(keys[who], context.directory.installation, body as never));
    const answer = await server.inject({ method: 'POST', url: '/v1/sessions', payload: { request } });
    return String(answer.headers['set-cookie']).split(';')[0] ?? '';
  }
  /** A reader over a real socket. */
  async function open(cookie: string, headers: Record<string, string> = {}) {
    const socket: Socket = connect(port, '127.0.0.1');
    let text = '';
    const changed = new Set<() => void>();
    const notify = () => {
      for (const wake of changed) wake();
    };
    socket.on('data', (bytes) => {
      text += bytes.toString();
      notify();
    });
    socket.on('close', notify);
    socket.on('error', () => undefined);
    closer.add({ close: () => void socket.destroy() });
    const lines = Object.entries({ host: 'localhost:1', cookie, ...headers }).map(
      ([name, value]) => `${name}: ${value}`,
    );
    socket.write(`GET /v1/events HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    const until = async (is: () => boolean) => {
      while (!is()) await new Promise<void>((resolve) => changed.add(resolve));
    };
    await until(() => text.includes('\r\n\r\n') || socket.closed);
    return {
      socket,
      until,
      status: () => Number(text.slice(9, 12)),
      text: () => text,
      told: () =>
        [...text.matchAll(/"kind":"(\w+)","id":"(\w+)"/g)].map(([, kind, id]) => `${kind}/${id?.slice(0, 4)}`),
      last: () => [...text.matchAll(/^id: (\w+)$/gm)].at(-1)?.[1] ?? '',
    };
  }
  const touch = (id: string) =>
    system.fixture.context.records.designs.update(id, (design) => ({ ...design, size: design.size + 1 }));

  it('tells each person what they may read, and nothing of others', async () => {
    const { design } = system;
    const [owner, other] = await Promise.all((['owner', 'other'] as const).map(async (who) => open(await signIn(who))));
    if (owner === undefined || other === undefined) throw new Error('not opened');
    expect([owner.status(), other.status()]).toEqual([200, 200]);
    expect(owner.text()).toMatch(/content-type: text\/event-stream/i);
    await owner.until(() => owner.text().includes('event: reset'));
    await touch(design);
    await owner.until(() => owner.told().length === 1);
    expect(owner.told()).toEqual([`design/${design.slice(0, 4)}`]);
    // A machine is everybody's: its event comes after the design's.
    const { machine } = system.machine;
    await system.fixture.context.records.machines.update(machine, (found) => ({ ...found }));
    await other.until(() => other.told().length === 1);
    expect(other.told()).toEqual([`machine/${machine.slice(0, 4)}`]);
  });

  it('goes on after the last event, and is reset for an id that it does not know', async () => {
    const cookie = await signIn('owner');
    const first = await open(cookie);
    await touch(system.design);
    await first.until(() => first.told().length === 1);
    first.socket.destroy();
    await touch(system.design);
    const second = await open(cookie, { 'last-event-id': first.last() });
    await second.until(() => second.told().length === 1);
    expect(second.text()).not.toContain('event: reset');
    const third = await open(cookie, { 'last-event-id': 'f'.repeat(32) });
    await third.until(() => third.text().includes('event: reset'));
    expect(third.told()).toEqual([]);
  });

  it('needs a session, and ends with it', async () => {
    expect((await open('')).status()).toBe(401);
    const cookie = await signIn('holder');
    const stream = await open(cookie);
    expect(stream.status()).toBe(200);
    await server.inject({ method: 'DELETE', url: '/v1/sessions/current', headers: { cookie } });
    await stream.until(
      () => stream.socket.readableEnded || stream.socket.closed || stream.text().endsWith('0\r\n\r\n'),
    );
    expect(stream.text()).not.toContain('event: beat');
  }, 30_000);

  it('is limited to eight of a key, and a closed one makes room', async () => {
    const cookie = await signIn('other');
    const streams: Awaited<ReturnType<typeof open>>[] = [];
    let refused: Awaited<ReturnType<typeof open>> | undefined;
    while (refused === undefined && streams.length < 20) {
      const next = await open(cookie);
      if (next.status() === 200) streams.push(next);
      else refused = next;
    }
    expect(refused?.text()).toContain('E_QUOTA');
    expect(streams.length).toBeLessThanOrEqual(8);
    streams[0]?.socket.destroy();
    await expect.poll(async () => (await open(cookie)).status(), { timeout: 10_000 }).toBe(200);
  });

  it('drops a reader that does not read', async () => {
    const stream = await open(await signIn('owner'));
    stream.socket.pause();
    const { context } = system.fixture;
    const change: Change = { kind: 'machine', id: 'f'.repeat(64), resource: {} };
    const connections = () =>
      new Promise<number>((resolve) => server.server.getConnections((_, count) => resolve(count)));
    const before = await connections();
    await expect
      .poll(
        async () => {
          for (let i = 0; i < 20_000; i++) context.changes.tell(change);
          return connections();
        },
        { timeout: 20_000 },
      )
      .toBeLessThan(before);
  }, 30_000);
});
