import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Closer, silentLogger, systemClock, systemRandom, toBase64 } from '@millrace/base';
import { type MemorySigner, userKey } from '@millrace/identity';
import { providerKeyThumbprint, signInNonce, signInPerson } from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { CLIENT, startProvider, type TestProvider } from '@millrace/testkit/sign-in-provider';
import { fastify } from 'fastify';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CheckBoard } from '../src/control/checks.ts';
import { addConsoleRoutes } from '../src/control/console/routes.ts';
import { Sessions } from '../src/control/console/sessions.ts';
import { answersInMemory, IdempotentAnswers } from '../src/node/idempotency.ts';
import { setUp, type TlsServer } from '../src/node/server.ts';
import { fixtureWithMachine } from './control-fixture.ts';
import { peopleFixture } from './people-fixture.ts';

const key = systemRandom(32);

// Company sign-in at the console of a control node in memory, with a real provider on this computer.

const ORIGIN = 'https://console.example';
const closer = new Closer();
let now = systemClock.now();
let system: Awaited<ReturnType<typeof fixtureWithMachine>>;
let people: ReturnType<typeof peopleFixture>;
let provider: TestProvider;
let other: TestProvider;
let server: TlsServer;
let organisation: string;
let admin: MemorySigner;

beforeAll(async () => {
  system = await fixtureWithMachine(() => now);
  const staff = {
    dora: { email: 'dora@example.com', email_verified: true, groups: ['makers'] },
    unverified: { email: 'dora@example.com', email_verified: false, groups: ['makers'] },
    elsewhere: { email: 'dora@evil.example', email_verified: true, groups: ['makers'] },
    visitor: { email: 'vic@example.com', email_verified: true, groups: ['visitors'] },
  };
  provider = closer.add(await startProvider(staff, [`${ORIGIN}/`]));
  other = closer.add(await startProvider(staff, [`${ORIGIN}/`]));
  server = fastify() as unknown as TlsServer;
  setUp(server, silentLogger);
  addConsoleRoutes(server, system.fixture.context, {
    sessions: new Sessions(new MemoryRecords(), { clock: system.fixture.context.clock, random: systemRandom, key }),
    checks: new CheckBoard(systemClock),
    answers: await IdempotentAnswers.open(answersInMemory(), systemClock),
    directories: undefined,
    origin: () => ORIGIN,
    providers: { loopback: true },
  });
  closer.add({ close: () => server.close() });
  people = peopleFixture(system.fixture);
  organisation = await people.organisation('Brand', 'brand');
  admin = await people.enrol(organisation, 'owner-admin');
  await setSignIn();
});
afterAll(() => closer.close());

async function setSignIn(changes: { at?: TestProvider; of?: string; by?: MemorySigner } = {}): Promise<string> {
  const { at = provider, of = organisation, by = admin } = changes;
  const document = await people.sign(by, {
    type: 'organisation.signin',
    ...{ organisation: of, issuer: at.issuer, clientId: CLIENT, claim: 'groups', domains: ['example.com'] },
    mapping: [{ group: 'makers', roles: ['designer'] }],
    keys: [await providerKeyThumbprint(at.key as never)],
    ...{ keyMs: 3_600_000, until: now + 1e8 },
  });
  const { signIn } = (await people.take(document)) as unknown as { signIn: string };
  return signIn;
}

/** A browser with its cookies. */
function browser() {
  const cookies = new Map<string, string>();
  const ask = async (method: 'GET' | 'POST' | 'DELETE', url: string, json?: object) => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await server.inject({ method, url, headers: { cookie }, ...(json && { payload: json }) });
    for (const set of [answer.headers['set-cookie'] ?? []].flat()) {
      const [name = '', value = ''] = (set.split(';')[0] ?? '').split('=');
      if (value === '') cookies.delete(name);
      else cookies.set(name, value);
    }
    const body = answer.body === '' ? {} : (JSON.parse(answer.body) as Record<string, unknown>);
    return { status: answer.statusCode, body, code: body.code, set: String(answer.headers['set-cookie'] ?? '') };
  };
  const begin = async (of = organisation, nonce?: string) =>
    ask('POST', '/v1/company-sign-ins', { organisation: of, ...(nonce === undefined ? {} : { nonce }) });
  const end = (address: string) => ask('POST', '/v1/company-sign-ins/answer', { answer: new URL(address).search });
  return {
    ...{ cookies, ask, begin, end },
    /** Begins, and signs in at the provider. @returns where the provider sends the browser */
    back: async (person = 'dora', at = provider, of = organisation) => {
      at.person = person;
      return at.signIn((await begin(of)).body.address as string);
    },
  };
}

it('gives a session that reads what the person’s roles read, and writes nothing', async () => {
  const dora = browser();
  const begun = await dora.begin();
  expect(begun.set).toMatch(
    /^__Host-millrace-sign-in=[\w-]{43}; Max-Age=600; Path=\/; HttpOnly; SameSite=Strict; Secure$/,
  );
  expect(begun.body).toMatchObject({ issuer: provider.issuer, organisationName: 'Brand' });
  const asked = new URL(begun.body.address as string).searchParams;
  expect(asked.get('code_challenge_method')).toBe('S256');
  expect(asked.get('redirect_uri')).toBe(`${ORIGIN}/`);
  // Somebody had given the browser a cookie before.
  dora.cookies.set('__Host-millrace', 'A'.repeat(43));
  const ended = await dora.end(await dora.back());
  const person = signInPerson(organisation, provider.issuer, 'dora');
  expect(ended.body.session).toMatchObject({
    ...{ name: 'dora@example.com', organisation, roles: ['designer'], company: true, admin: false, key: person },
  });
  expect(dora.cookies.get('__Host-millrace')).not.toBe('A'.repeat(43));
  expect((await dora.ask('GET', '/v1/sessions/current')).body).toEqual(ended.body.session);
  expect((await dora.ask('GET', '/v1/designs')).status).toBe(200);
  expect((await dora.ask('GET', `/v1/organisations/${organisation}/keys`)).status).toBe(200);
  // Others' designs, and what owner-admins read.
  expect((await dora.ask('GET', `/v1/designs/${system.design}`)).code).toBe('E_FORBIDDEN');
  expect((await dora.ask('GET', `/v1/organisations/${organisation}/sign-ins`)).code).toBe('E_FORBIDDEN');
  // What somebody's key has signed is for a session of that key to submit.
  const signed = await people.sign(admin, { type: 'session.open', origin: ORIGIN });
  expect((await dora.ask('POST', '/v1/transactions', { transaction: toBase64(signed) })).code).toBe('E_FORBIDDEN');
  expect((await dora.ask('POST', `/v1/designs/${system.design}/uploaded`)).code).toBe('E_FORBIDDEN');
  await dora.ask('DELETE', '/v1/sessions/current');
  expect((await dora.ask('GET', '/v1/designs')).status).toBe(401);
});

it('is written down for the owner-admins', async () => {
  const entries = [];
  for await (const [, entry] of system.fixture.context.records.signInLog.list({
    index: 'organisation',
    group: organisation,
  }))
    entries.push(entry);
  expect(entries).toMatchObject([{ name: 'dora@example.com', refused: false, organisation }]);
});

it('refuses people whom the organisation does not admit', async () => {
  for (const person of ['unverified', 'elsewhere', 'visitor']) {
    const own = browser();
    expect([person, (await own.end(await own.back(person))).code]).toEqual([person, 'E_SIGN_IN']);
    expect([person, own.cookies.has('__Host-millrace')]).toEqual([person, false]);
  }
});

it('takes an answer from the browser that began, once', async () => {
  const [dora, eve] = [browser(), browser()];
  const answer = await dora.back();
  // Login CSRF: another browser is sent to an answer that somebody else has obtained.
  expect((await eve.end(answer)).code).toBe('E_SIGN_IN');
  await eve.begin();
  expect((await eve.end(answer)).code).toBe('E_SIGN_IN');
  expect(eve.cookies.has('__Host-millrace')).toBe(false);
  // A code of somebody else, put into the own answer: PKCE refuses it.
  const own = await eve.back();
  const injected = new URL(own);
  injected.searchParams.set('code', new URL(answer).searchParams.get('code') ?? '');
  expect((await eve.end(injected.href)).code).toBe('E_PROVIDER');
  expect((await eve.end(own)).code).toBe('E_SIGN_IN');
  // Somebody else's answer has not ended Dora's own sign-in.
  expect((await dora.end(await eve.back())).code).toBe('E_SIGN_IN');
  expect((await dora.end(answer)).body.session).toMatchObject({ name: 'dora@example.com' });
  expect((await dora.end(answer)).code).toBe('E_SIGN_IN');
});

it('refuses answers that are not whole, or from another provider', async () => {
  const change = async (edit: (query: URLSearchParams) => void) => {
    const dora = browser();
    const answer = new URL(await dora.back());
    edit(answer.searchParams);
    return (await dora.end(answer.href)).code;
  };
  expect(await change((query) => query.delete('code'))).toBe('E_PROVIDER');
  expect(await change((query) => query.delete('state'))).toBe('E_SIGN_IN');
  expect(await change((query) => query.append('state', query.get('state') ?? ''))).toBe('E_SIGN_IN');
  expect(await change((query) => query.append('code', 'x'))).toBe('E_PROVIDER');
  // Mix-up (RFC 9207): the answer names another issuer.
  expect(await change((query) => query.set('iss', other.issuer))).toBe('E_PROVIDER');
  expect(await change((query) => query.set('redirect_uri', 'https://evil.example/'))).toBeUndefined();
  const late = browser();
  const answer = await late.back();
  now += 11 * 60_000;
  expect((await late.end(answer)).code).toBe('E_SIGN_IN');
  now -= 11 * 60_000;
});

it('does not mix organisations: the person of one gets nothing of another', async () => {
  // A hostile tenant names its own provider, and the domain of the company.
  const evil = await people.organisation('Evil', 'bureau');
  const eve = await people.enrol(evil, 'owner-admin');
  await setSignIn({ at: other, of: evil, by: eve });
  const dora = browser();
  const ended = await dora.end(await dora.back('dora', other, evil));
  expect(ended.body.session).toMatchObject({ organisation: evil });
  expect((await dora.ask('GET', `/v1/organisations/${organisation}/keys`)).code).toBe('E_FORBIDDEN');
  // It cannot say how another organisation's people sign in.
  await expect(setSignIn({ at: other, of: organisation, by: eve })).rejects.toMatchObject({ code: 'E_FORBIDDEN' });
  expect((await browser().begin('ab'.repeat(16))).code).toBe('E_NOT_FOUND');
  // A provider in this computer's network, or one that says that it is another one.
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ issuer: provider.issuer }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closer.add({ close: () => void server.close() });
  const imitation = { ...other, issuer: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
  await setSignIn({ at: imitation, of: evil, by: eve });
  expect((await browser().begin(evil)).code).toBe('E_PROVIDER');
  await setSignIn({ at: { ...other, issuer: 'https://10.0.0.1' }, of: evil, by: eve });
  expect((await browser().begin(evil)).code).toBe('E_PROVIDER');
});

it('hands the ID token for a key of the browser to that browser, and opens no session for it', async () => {
  const key = userKey(systemRandom(32));
  const [random, dora] = [systemRandom(32), browser()];
  const { installation } = system.fixture.context.directory;
  const nonce = signInNonce(installation, organisation, key.publicKey, random);
  provider.person = 'dora';
  const begun = await dora.begin(organisation, nonce);
  const ended = await dora.end(await provider.signIn(begun.body.address as string));
  expect(ended.body).toMatchObject({ enrolment: { providerKey: provider.key } });
  expect(dora.cookies.size).toBe(0);
  const { idToken } = ended.body.enrolment as { idToken: string };
  const claims = JSON.parse(Buffer.from(idToken.split('.')[1] ?? '', 'base64url').toString()) as { nonce: string };
  expect(claims.nonce).toBe(nonce);
  expect((await dora.begin(organisation, 'short')).code).toBe('E_INPUT');
});

it('ends sessions when the sign-in is replaced, the membership ends, or somebody is revoked', async () => {
  const open = async () => {
    const dora = browser();
    expect((await dora.end(await dora.back())).status).toBe(200);
    return dora;
  };
  const first = await open();
  const signIn = await setSignIn();
  expect((await first.ask('GET', '/v1/designs')).code).toBe('E_EXPIRED');
  expect((await first.ask('GET', '/v1/designs')).code).toBe('E_AUTH');
  const second = await open();
  now += 25 * 60_000;
  expect((await second.ask('GET', '/v1/designs')).status).toBe(200);
  now += 29 * 60_000;
  expect((await second.ask('GET', '/v1/designs')).status).toBe(200);
  now += 7 * 60_000; // an hour since the sign-in: keyMs
  expect((await second.ask('GET', '/v1/designs')).code).toBe('E_AUTH');
  now -= 61 * 60_000;
  const { directory } = system.fixture.context;
  const before = directory.revocations;
  for (const key of [signInPerson(organisation, provider.issuer, 'dora'), signIn]) {
    const dora = await open();
    Object.assign(directory, {
      revocations: { ...before, of: (name: string) => (name === key ? [{ name, at: now, kept: new Set() }] : []) },
    });
    expect((await dora.ask('GET', '/v1/designs')).code).toBe('E_REVOKED');
    expect((await dora.ask('GET', '/v1/designs')).status).toBe(401);
    const again = browser();
    const refused = await again.begin();
    const code = refused.code ?? (await again.end(await provider.signIn(refused.body.address as string))).code;
    expect(code).toBe('E_REVOKED');
    Object.assign(directory, { revocations: before });
  }
});
