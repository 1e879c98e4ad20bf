import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Closer, MemoryMetrics, silentLogger, systemClock, systemRandom, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { formatWebhookSecret, Revocations, sha256, type TransactionOf } from '@millrace/protocol';
import { outcomeOf } from '@millrace/testkit/protocol/support';
import { Webhook } from 'standardwebhooks';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { countingActor } from '../src/control/people.ts';
import { WebhookAddresses } from '../src/control/webhooks/addresses.ts';
import { WebhookOutbox } from '../src/control/webhooks/outbox.ts';
import { WebhookSender } from '../src/control/webhooks/sender.ts';
import { webhookMessagesPage, webhooksPage } from '../src/control/webhooks/transactions.ts';
import { userActor } from '../src/node/policy.ts';
import { controlFixture, type UserName } from './control-fixture.ts';

// Webhooks of a control node in memory, sent to real HTTP servers on this computer.

interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const closer = new Closer();
afterEach(() => closer.close());

let system: Awaited<ReturnType<typeof controlFixture>>;
beforeEach(async () => {
  system = await controlFixture();
});

/** @param answers statuses, one after the other; then 204. Headers may follow a status. */
async function receiver(...answers: (number | [number, Record<string, string>])[]) {
  const received: Received[] = [];
  const server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      received.push({ headers: request.headers, body });
      const answer = answers.shift() ?? 204;
      const [status, headers] = typeof answer === 'number' ? [answer, {}] : answer;
      response.writeHead(status, headers).end('x'.repeat(10));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closer.add({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  const { port } = server.address() as AddressInfo;
  return { received, port, url: `http://127.0.0.1:${port}/in?x=1` };
}

const time = { ahead: 0 };
const clock = { now: () => systemClock.now() + time.ahead, monotonic: systemClock.monotonic };

/** Starts outbox and sender, as a process does. */
async function start({ networks = ['127.0.0.0/8'], retryMs = 20 } = {}) {
  const { context } = system;
  const { records, changes } = context;
  const metrics = new MemoryMetrics();
  const modules = { logger: silentLogger, clock, records };
  const addresses = new WebhookAddresses({ http: true, networks });
  const actorOf = (key: string) => countingActor(context, key);
  const outbox = new WebhookOutbox({ ...modules, actorOf, changes, random: systemRandom });
  Object.assign(context, { webhooks: { outbox, addresses } });
  const own = new Closer();
  const sender = own.add(new WebhookSender({ retryMs }, { ...modules, outbox, addresses, metrics, random: () => 0.5 }));
  own.add(await outbox.open(sender.look));
  closer.add(own);
  return { outbox, sender, metrics, close: () => own.close() };
}

async function create(
  url: string,
  {
    who = 'owner' as UserName,
    secret = systemRandom(32),
    ...body
  }: { who?: UserName; secret?: Uint8Array } & Partial<TransactionOf<'webhook.create'>> = {},
) {
  const signed = { type: 'webhook.create' as const, name: 'erp', url, hash: sha256(secret), ...body };
  const { webhook = '' } = await system.submit(who, signed, { secret: secret as never });
  return { webhook, secret };
}

/** A change of a thing of these parties. */
function change(owner: UserName, holder: UserName = owner, kind = 'print') {
  const id = toHex(systemRandom(16));
  const party = (who: UserName) => keyName(system.keys[who].publicKey);
  system.context.changes.wrote(kind, id, { owner: party(owner), holder: party(holder) });
  return id;
}

const listed = async (webhook: string, who: UserName = 'owner') => {
  const actor = userActor(system.context.directory, keyName(system.keys[who].publicKey));
  return (await webhookMessagesPage(system.context, webhook, actor, { limit: 200 })).items;
};
const viewOf = async (who: UserName = 'owner') => {
  const { items } = await webhooksPage(system.context, 'key', keyName(system.keys[who].publicKey), { limit: 50 });
  return items[0];
};
const idOf = ({ body }: Received) => (JSON.parse(body) as { data: { id?: string } }).data.id;
const set = (webhook: string, state: 'on' | 'off' | 'deleted', who: UserName = 'owner') =>
  system.submit(who, { type: 'webhook.set', webhook, state });
const send = (webhook: string, what: { message?: string; after?: string } = {}, who: UserName = 'owner') =>
  system.submit(who, { type: 'webhook.send', webhook, ...what });
const until = (check: () => unknown) => vi.waitFor(check, { timeout: 30_000, interval: 20 });

describe('a message', () => {
  it('tells what the person may read, and a library of Standard Webhooks verifies it', async () => {
    await start();
    const { received, url } = await receiver();
    const { webhook, secret } = await create(url);
    const print = change('owner', 'holder');
    change('other');
    const last = change('owner');
    await until(() => expect(received.map(idOf)).toEqual([print, last]));
    const [{ headers, body } = { headers: {}, body: '' }] = received;
    const verifier = new Webhook(formatWebhookSecret(secret));
    const told = { type: 'print.changed', timestamp: expect.any(String), data: { kind: 'print', id: print } };
    expect(verifier.verify(body, headers as Record<string, string>)).toEqual(told);
    expect(() => verifier.verify(`${body} `, headers as Record<string, string>)).toThrow();
    const wrong = new Webhook(formatWebhookSecret(systemRandom(32)));
    expect(() => wrong.verify(body, headers as Record<string, string>)).toThrow();
    await until(async () =>
      expect((await listed(webhook)).map(({ state }) => state)).toEqual(['received', 'received']),
    );
  });

  it('is sent again with the same id and bytes until it is received', async () => {
    await start();
    const { received, url } = await receiver(500, 503);
    const { webhook } = await create(url);
    change('owner');
    await until(() => expect(received).toHaveLength(3));
    expect(new Set(received.map(({ body, headers }) => `${body} ${headers['webhook-id']}`)).size).toBe(1);
    await until(async () =>
      expect(await listed(webhook)).toMatchObject([{ state: 'received', attempts: 3, last: { status: 204 } }]),
    );
    expect((await viewOf())?.failingSince).toBeUndefined();
  });

  it('waits longer each time, as long as the receiver asks, and is given up after three days', async () => {
    time.ahead = 0;
    await start({ retryMs: 5_000 });
    const hours = (count: number) => count * 3_600_000;
    const { received, url } = await receiver(
      ...Array(9).fill(500),
      [503, { 'retry-after': '18000' }],
      500,
      500,
      500,
      500,
    );
    const { webhook } = await create(url);
    change('owner');
    const pauses: number[] = [];
    let before = 0;
    const next = async () => {
      const [message] = await listed(webhook);
      return message;
    };
    for (let tries = 1; tries <= 8; tries++) {
      await until(async () => {
        expect(received).toHaveLength(tries);
        const message = await next();
        expect(message).toMatchObject({ attempts: tries, last: { status: 500 } });
        // The outcome of this attempt, not of the one before.
        expect(message?.last?.at).toBeGreaterThan(before);
      });
      before = clock.now();
      const pause = ((await next())?.next ?? 0) - before;
      pauses.push(Math.ceil(pause / 1_000));
      time.ahead += pause;
    }
    const usual = [5, 20, 80, 320, 1_280, 5_120, 20_480, 21_600];
    for (const [i, pause] of pauses.entries()) expect(Math.abs(pause - (usual[i] ?? 0))).toBeLessThan(60);
    time.ahead += hours(72);
    await until(async () => expect(await next()).toMatchObject({ state: 'failed', attempts: 9 }));
    time.ahead = 0;
  });

  it('is withheld when the person may no longer read it', async () => {
    const { close } = await start({ retryMs: 3_600_000 });
    const { received, url } = await receiver(500);
    const { webhook } = await create(url, { who: 'owner' });
    const print = change('owner');
    await until(() => expect(received).toHaveLength(1));
    const [message] = await listed(webhook);
    await close();
    // As if the licence had gone to another holder: the record of the message names whom it is told.
    await system.context.records.webhookMessages.update(message?.message ?? '', (record) => ({
      ...record,
      change: { kind: 'print', id: print, resource: { owner: toHex(systemRandom(16)) } },
    }));
    await start();
    await send(webhook, { message: message?.message ?? '' });
    await until(async () =>
      expect((await system.context.records.webhookMessages.get(message?.message ?? ''))?.state).toBe('withheld'),
    );
    expect(received.filter(({ body }) => body.includes(print))).toHaveLength(1);
    expect(await listed(webhook)).toEqual([expect.objectContaining({ type: 'reset' })]);
  });

  it('survives a restart, after which everybody is told to read everything again', async () => {
    const { close } = await start({ retryMs: 3_600_000 });
    const { received, url } = await receiver(500);
    const { webhook } = await create(url);
    const print = change('owner');
    await until(async () => expect((await listed(webhook))[0]?.last?.status).toBe(500));
    await close();
    await start();
    const [{ message = '' } = {}] = (await listed(webhook)).slice(-1);
    await send(webhook, { message });
    await until(() =>
      expect(received.map(({ body }) => (JSON.parse(body) as { type: string }).type).sort()).toEqual([
        'print.changed',
        'print.changed',
        'reset',
      ]),
    );
    expect(idOf(received.at(-1) as Received) ?? idOf(received.at(-2) as Received)).toBe(print);
  });
});

describe('a webhook', () => {
  it('sends a test, one message again, and all messages after one', async () => {
    await start();
    const { received, url } = await receiver();
    const { webhook } = await create(url, { kinds: ['licence'] });
    await send(webhook);
    await until(() => expect(received).toHaveLength(1));
    change('owner');
    const ids = [change('owner', 'owner', 'licence'), change('owner', 'owner', 'licence')];
    await until(() => expect(received.map(idOf)).toEqual([undefined, ...ids]));
    await until(async () => expect((await listed(webhook)).every(({ state }) => state === 'received')).toBe(true));
    const messages = (await listed(webhook)).map(({ message }) => message).reverse();
    await send(webhook, { message: messages[1] ?? '' });
    await until(() => expect(received.map(idOf)).toEqual([undefined, ...ids, ids[0]]));
    await until(async () => expect((await listed(webhook)).every(({ state }) => state === 'received')).toBe(true));
    await send(webhook, { after: messages[0] ?? '' });
    await until(() => expect(received.map(idOf)).toEqual([undefined, ...ids, ids[0], ...ids]));
    expect(await outcomeOf(send(webhook, { after: toHex(systemRandom(16)) }))).toBe('E_NOT_FOUND');
  });

  it('is signed with both secrets for a day after a rotation', async () => {
    time.ahead = 0;
    await start();
    const { received, url } = await receiver();
    const { webhook, secret } = await create(url);
    const fresh = systemRandom(32);
    const hash = sha256(fresh);
    await system.submit('owner', { type: 'webhook.rotate', webhook, hash }, { secret: fresh });
    await send(webhook);
    await until(() => expect(received).toHaveLength(1));
    const verifies = (key: Uint8Array, { body, headers }: Received) => {
      // The library compares the time with its own clock.
      const [id, at] = [String(headers['webhook-id']), Number(headers['webhook-timestamp'])];
      const signature = new Webhook(formatWebhookSecret(key)).sign(id, new Date(at * 1_000), body);
      return String(headers['webhook-signature']).split(' ').includes(signature);
    };
    const [first] = received as [Received];
    expect([verifies(fresh, first), verifies(secret, first), verifies(systemRandom(32), first)]).toEqual([
      ...[true, true, false],
    ]);
    expect((await viewOf())?.formerSecretUntil).toBeGreaterThan(clock.now());
    time.ahead = 25 * 3_600_000;
    await send(webhook);
    await until(() => expect(received).toHaveLength(2));
    const second = received[1] as Received;
    expect([verifies(fresh, second), verifies(secret, second)]).toEqual([true, false]);
    time.ahead = 0;
  });

  it('is turned off by 410, and after five days of failures; when it is on again, it gets a reset', async () => {
    time.ahead = 0;
    const { metrics } = await start({ retryMs: 3_600_000 });
    const { received, url } = await receiver(410, 500, 500);
    const { webhook } = await create(url);
    change('owner');
    await until(async () => expect((await viewOf())?.off?.reason).toBe('gone'));
    await until(() => expect(metrics.value('millrace_webhooks_off')).toBe(1));
    expect(await outcomeOf(send(webhook))).toBe('E_STATE');
    await set(webhook, 'on');
    await until(async () => expect((await viewOf())?.failingSince).toBeDefined());
    expect(received[1]?.body).toContain('"reset"');
    time.ahead = 5 * 86_400_000 + 60_000;
    change('owner');
    await until(async () => expect((await viewOf())?.off?.reason).toBe('failing'));
    time.ahead = 0;
  });

  it('gets nothing while it is off, and nothing is left of a deleted one', async () => {
    await start();
    const { received, url } = await receiver();
    const { webhook } = await create(url);
    await set(webhook, 'off');
    change('owner');
    await set(webhook, 'on');
    await until(() => expect(received.map(({ body }) => JSON.parse(body))).toMatchObject([{ type: 'reset' }]));
    await set(webhook, 'deleted');
    change('owner');
    expect(await outcomeOf(send(webhook))).toBe('E_NOT_FOUND');
    for await (const [id] of system.context.records.webhookMessages.list()) expect(id).toBe('none is left');
  });

  it('gets one reset instead of more messages than are kept', async () => {
    await start({ retryMs: 3_600_000 });
    const { url } = await receiver(...Array(2_000).fill(500));
    const { webhook } = await create(url);
    for (let i = 0; i < 1_100; i++) change('owner');
    const { outbox } = system.context.webhooks;
    await until(async () => {
      expect(outbox.waiting(webhook)).toBe(1_000);
      const page = await listed(webhook);
      expect(page.filter(({ type }) => type === 'reset')).toHaveLength(1);
    });
    await set(webhook, 'deleted');
  });
});

describe('hostile parties', () => {
  it('reach no address that is not public, in whatever notation', async () => {
    await start({ networks: [] });
    const { received, port } = await receiver();
    const hosts = [
      '127.0.0.1',
      '2130706433',
      '0x7f.1',
      '0',
      '10.0.0.1',
      '192.168.1.1',
      '172.16.0.1',
      '169.254.169.254',
    ];
    const hosts6 = [
      '[::1]',
      '[::]',
      '[::ffff:127.0.0.1]',
      '[64:ff9b::7f00:1]',
      '[2002:7f00:1::]',
      '[fe80::1]',
      '[fd00::1]',
    ];
    for (const host of [...hosts, ...hosts6, '100.64.0.1', '224.0.0.1', '255.255.255.255'])
      expect([host, await outcomeOf(create(`http://${host}:${port}/`))]).toEqual([host, 'E_INPUT']);
    // A name can mean another address whenever it is asked: it is checked with each message.
    const { webhook } = await create(`http://localhost:${port}/`);
    await send(webhook);
    await until(async () => expect((await listed(webhook))[0]).toMatchObject({ last: { code: 'E_FORBIDDEN' } }));
    expect(received).toEqual([]);
    // Control: the same receiver, when the administrator allows its network.
    await set(webhook, 'deleted');
    await start({ networks: ['127.0.0.0/8'] });
    const allowed = await create(`http://localhost:${port}/`);
    await send(allowed.webhook);
    await until(() => expect(received).toHaveLength(1));
  });

  it('are led nowhere by a redirect, and learn nothing of an answer but its status', async () => {
    await start({ retryMs: 3_600_000 });
    const inside = await receiver();
    const { received, url } = await receiver([302, { location: inside.url }]);
    const { webhook } = await create(url);
    await send(webhook);
    await until(async () => expect(await listed(webhook)).toMatchObject([{ last: { status: 302 } }]));
    expect((await listed(webhook))[0]?.last).toEqual({ at: expect.any(Number), status: 302 });
    expect([received.length, inside.received.length]).toEqual([1, 0]);
  });

  it('name no other protocol, no password, and no secret that they did not sign', async () => {
    await start();
    const { url } = await receiver();
    for (const wrong of ['ftp://h.example/', 'file:///etc/passwd', 'http://u:p@127.0.0.1/', 'http://127.0.0.1/#x', 'x'])
      expect([wrong, await outcomeOf(create(wrong))]).toEqual([wrong, 'E_INPUT']);
    const secure = new WebhookAddresses({ http: false, networks: ['127.0.0.0/8'] });
    expect(() => secure.requireUrl('http://127.0.0.1/')).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
    expect(() => secure.requireUrl('https://127.0.0.1/')).not.toThrow();
    const hash = sha256(systemRandom(32));
    const body = { type: 'webhook.create' as const, name: 'erp', url, hash };
    for (const attachments of [{}, { secret: systemRandom(32) }, { secret: systemRandom(16) }])
      expect(await outcomeOf(system.submit('owner', body, attachments))).toBe('E_INPUT');
    expect(await viewOf()).toBeUndefined();
  });

  it('cannot touch the webhook of another tenant, nor have more than ten', async () => {
    await start();
    const { received, url } = await receiver();
    const { webhook } = await create(url);
    const fresh = systemRandom(32);
    for (const who of ['other', 'holder'] as const) {
      const rotation = { type: 'webhook.rotate' as const, webhook, hash: sha256(fresh) };
      for (const attempt of [
        system.submit(who, rotation, { secret: fresh }),
        set(webhook, 'off', who),
        set(webhook, 'deleted', who),
        send(webhook, {}, who),
      ])
        expect(await outcomeOf(attempt)).toBe('E_FORBIDDEN');
    }
    // A message of another webhook.
    const others = await create(url, { who: 'other' });
    await send(others.webhook, {}, 'other');
    await until(() => expect(received).toHaveLength(1));
    const [{ message = '' } = {}] = await listed(others.webhook, 'other');
    expect(await outcomeOf(send(webhook, { message }))).toBe('E_NOT_FOUND');
    for (let i = 1; i < 10; i++) await create(url);
    expect(await outcomeOf(create(url))).toBe('E_QUOTA');
  });

  it('whose key was revoked are told nothing more', async () => {
    await start();
    const { received, url } = await receiver();
    const { webhook } = await create(url);
    await send(webhook);
    await until(() => expect(received).toHaveLength(1));
    const { directory } = system.context;
    const key = keyName(system.keys.owner.publicKey);
    vi.spyOn(Revocations.prototype, 'of').mockImplementation((name) => (name === key ? [{ at: 1 } as never] : []));
    Object.assign(directory, { revocations: new Revocations() });
    change('owner');
    await system.context.webhooks.outbox.add(webhook, { type: 'test' });
    await until(async () => expect((await system.context.records.webhooks.get(webhook))?.off?.reason).toBe('key'));
    expect(received).toHaveLength(1);
    vi.restoreAllMocks();
  });
});
