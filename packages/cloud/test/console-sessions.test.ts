import type { SignInView } from '@millrace/api';
import {
  Closer,
  decodeCbor,
  encodeCbor,
  silentLogger,
  systemClock,
  systemRandom,
  toBase64,
  toHex,
  utf8,
} from '@millrace/base';
import {
  createAuthority,
  createTlsKey,
  generateUserKey,
  keyName,
  type MemorySigner,
  tlsPublicKey,
} from '@millrace/identity';
import { sha256, signTransaction, type TransactionOf } from '@millrace/protocol';
import { MemoryRecords } from '@millrace/stores';
import { fastify } from 'fastify';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CheckBoard } from '../src/control/checks.ts';
import { addConsoleRoutes } from '../src/control/console/routes.ts';
import { IDLE_MS, Sessions, WHOLE_MS } from '../src/control/console/sessions.ts';
import { issueCertificate } from '../src/control/people.ts';
import { forgetSignIns, SIGN_IN_LOG_MS } from '../src/control/sign-in-log.ts';
import { answersInMemory, IdempotentAnswers } from '../src/node/idempotency.ts';
import { setUp, type TlsServer } from '../src/node/server.ts';
import { fixtureWithMachine } from './control-fixture.ts';
import { peopleFixture } from './people-fixture.ts';

const key = systemRandom(32);

// Sessions of browsers at a control node in memory. What a session may do is the policy's, as for certificates.

const ORIGIN = 'https://console.example';
const COOKIE = '__Host-millrace';
const closer = new Closer();
let now = systemClock.now();
let system: Awaited<ReturnType<typeof fixtureWithMachine>>;
let server: TlsServer;
const store = new MemoryRecords();
beforeAll(async () => {
  system = await fixtureWithMachine(() => now);
  server = fastify() as unknown as TlsServer;
  setUp(server, silentLogger);
  addConsoleRoutes(server, system.fixture.context, {
    sessions: new Sessions(store, { clock: system.fixture.context.clock, random: systemRandom, key }),
    checks: new CheckBoard(systemClock),
    answers: await IdempotentAnswers.open(answersInMemory(), systemClock),
    directories: undefined,
    origin: () => ORIGIN,
    providers: {},
  });
  closer.add({ close: () => server.close() });
});
afterAll(() => closer.close());

type Method = 'GET' | 'POST' | 'DELETE';
async function ask(method: Method, url: string, { cookie, json }: { cookie?: string; json?: unknown } = {}) {
  const answer = await server.inject({
    ...{ method, url, headers: cookie === undefined ? {} : { cookie } },
    ...(json === undefined ? {} : { payload: json as object }),
  });
  const set = String(answer.headers['set-cookie'] ?? '');
  const body = answer.body === '' ? {} : (JSON.parse(answer.body) as Record<string, unknown>);
  return { status: answer.statusCode, body, set, cookie: set.split(';')[0] ?? '' };
}

async function request(signer: MemorySigner, changes: Partial<TransactionOf<'session.open'>> = {}): Promise<string> {
  const times = { id: systemRandom(16), issued: now, expires: now + 600_000 };
  const body = { type: 'session.open' as const, ...times, origin: ORIGIN, ...changes };
  return toBase64(await signTransaction(signer, system.fixture.context.directory.installation, body));
}
const open = async (signed: string, cookie?: string) =>
  ask('POST', '/v1/sessions', { json: { request: signed }, ...(cookie === undefined ? {} : { cookie }) });

it('a signed request opens a session, which reads what the key may read', async () => {
  const { owner, holder } = system.fixture.keys;
  const opened = await open(await request(owner));
  expect(opened.status).toBe(200);
  expect(opened.body).toMatchObject({ key: keyName(owner.publicKey), admin: false, idleMs: IDLE_MS });
  expect(opened.set).toMatch(/^__Host-millrace=[\w-]{43}; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict; Secure$/);
  const { cookie } = opened;
  expect((await ask('GET', '/v1/sessions/current', { cookie })).body).toEqual(opened.body);
  const design = `/v1/designs/${system.design}`;
  expect((await ask('GET', design, { cookie })).status).toBe(200);
  // Without a session, with another secret, and for somebody else.
  expect((await ask('GET', design)).status).toBe(401);
  expect((await ask('GET', design, { cookie: `${COOKIE}=${'A'.repeat(43)}` })).status).toBe(401);
  expect((await ask('GET', design, { cookie: `${cookie}; ${cookie}` })).status).toBe(401);
  const other = await open(await request(holder));
  expect([(await ask('GET', design, { cookie: other.cookie })).body.code]).toEqual(['E_FORBIDDEN']);
  expect(JSON.stringify((await ask('GET', '/v1/designs', { cookie: other.cookie })).body)).not.toContain(system.design);
});

it('a session changes nothing without a signature', async () => {
  const { owner, holder } = system.fixture.keys;
  const { cookie } = await open(await request(owner));
  for (const path of [`/v1/designs/${system.design}/repair`, '/v1/checks'])
    expect([path, (await ask('POST', path, { cookie, json: {} })).status]).toEqual([path, 404]);
  // A transaction that another key has signed.
  const foreign = { transaction: await request(holder) };
  expect((await ask('POST', '/v1/transactions', { cookie, json: foreign })).body.code).toBe('E_FORBIDDEN');
  const own = { transaction: await request(owner) };
  expect((await ask('POST', '/v1/transactions', { cookie, json: own })).body.code).toBe('E_INPUT');
});

it('says that a design is uploaded only with the signature of the session’s key for this design', async () => {
  const { owner, holder } = system.fixture.keys;
  const { cookie } = await open(await request(owner));
  const { installation } = system.fixture.context.directory;
  const signed = async (signer: MemorySigner, changes: Partial<TransactionOf<'upload.open'>> = {}) => {
    const times = { id: systemRandom(16), issued: now, expires: now + 600_000 };
    const body = { type: 'upload.open' as const, ...times, design: system.design, origin: ORIGIN, ...changes };
    return toBase64(await signTransaction(signer, installation, body));
  };
  const say = async (upload?: string, by = cookie) => {
    const url = `/v1/designs/${system.design}/uploaded`;
    const headers = { cookie: by, ...(upload === undefined ? {} : { 'millrace-upload-request': upload }) };
    const { statusCode, body } = await server.inject({ method: 'POST', url, headers });
    return statusCode === 200 ? 'said' : (JSON.parse(body) as { code: string }).code;
  };
  const own = await signed(owner);
  expect([await say(own), await say(own)]).toEqual(['said', 'said']); // after a cut, again
  expect(await say()).toBe('E_FORBIDDEN');
  expect(await say(await signed(holder))).toBe('E_FORBIDDEN');
  expect(await say(await signed(owner, { design: 'ab'.repeat(16) }))).toBe('E_FORBIDDEN');
  expect(await say(await signed(owner, { issued: now - 9e7, expires: now - 8e7 }))).toBe('E_EXPIRED');
  expect(await say(await request(owner))).toBe('E_INPUT');
  const other = await open(await request(holder));
  expect(await say(own, other.cookie)).toBe('E_FORBIDDEN');
  expect(await say(await signed(holder), other.cookie)).toBe('E_FORBIDDEN');
});

it('refuses requests that were used, are for another address, or are not signed by a known key', async () => {
  const { owner } = system.fixture.keys;
  const used = await request(owner);
  expect((await open(used)).status).toBe(200);
  expect((await open(used)).body.code).toBe('E_REPLAY');
  expect((await open(await request(owner, { origin: 'https://console.example.evil.test' }))).body.code).toBe('E_AUTH');
  expect(
    (await open(await request(owner, { expires: now - 2 * 3_900_000, issued: now - 3 * 3_900_000 }))).body.code,
  ).toBe('E_EXPIRED');
  expect((await open(await request(generateUserKey()))).body.code).toMatch(/^E_(AUTH|SIGNATURE)$/);
  expect((await open('AAAA')).body.code).toBe('E_SIGNATURE');
  expect((await open('*')).status).toBe(400);
});

it('a sign-in always gets a new secret, and ends the browser’s former session', async () => {
  const { owner, holder } = system.fixture.keys;
  const chosen = `${COOKIE}=${'B'.repeat(43)}`;
  const first = await open(await request(owner), chosen);
  expect(first.cookie).not.toBe(chosen);
  expect((await ask('GET', '/v1/sessions/current', { cookie: chosen })).status).toBe(204);
  const second = await open(await request(holder), first.cookie);
  expect(second.cookie).not.toBe(first.cookie);
  expect((await ask('GET', '/v1/sessions/current', { cookie: first.cookie })).status).toBe(204);
  const out = await ask('DELETE', '/v1/sessions/current', { cookie: second.cookie });
  expect([out.status, out.set]).toEqual([200, expect.stringContaining(`${COOKIE}=; Max-Age=0`)]);
  expect((await ask('GET', '/v1/sessions/current', { cookie: second.cookie })).status).toBe(204);
});

it('ends after half an hour without a request, and after half a day in any case', async () => {
  const { owner } = system.fixture.keys;
  const idle = await open(await request(owner));
  now += IDLE_MS + 1;
  expect((await ask('GET', '/v1/sessions/current', { cookie: idle.cookie })).status).toBe(204);
  const busy = await open(await request(owner));
  const begun = now;
  for (; now <= begun + WHOLE_MS; now += IDLE_MS - 1)
    expect((await ask('GET', '/v1/sessions/current', { cookie: busy.cookie })).status).toBe(200);
  expect((await ask('GET', '/v1/sessions/current', { cookie: busy.cookie })).status).toBe(204);
});

it('ends when the key is revoked, and the browser may sign in with another key', async () => {
  const { owner, holder } = system.fixture.keys;
  const { cookie } = await open(await request(owner));
  const name = keyName(owner.publicKey);
  const of = (key: string) => (key === name ? [{ name: key, at: 1, kept: new Set<string>() }] : []);
  Object.assign(system.fixture.context.directory, { revocations: { of } });
  expect((await ask('GET', `/v1/designs/${system.design}`, { cookie })).body.code).toBe('E_REVOKED');
  expect((await open(await request(owner))).body.code).toBe('E_REVOKED');
  expect((await ask('GET', '/v1/sessions/current', { cookie })).status).toBe(204);
  expect((await open(await request(holder), cookie)).status).toBe(200);
  Object.assign(system.fixture.context.directory, { revocations: undefined });
});

it('ends when the key expires', async () => {
  now = systemClock.now();
  const people = peopleFixture(system.fixture);
  const until = systemClock.now() + 60_000;
  const designer = await people.enrol(await people.organisation('Brand', 'brand'), 'designer', until);
  const { cookie } = await open(await request(designer));
  expect((await ask('GET', '/v1/designs', { cookie })).status).toBe(200);
  now = until + 1;
  expect((await ask('GET', '/v1/designs', { cookie })).body.code).toBe('E_EXPIRED');
  expect((await ask('GET', '/v1/sessions/current', { cookie })).status).toBe(204);
});

it('limits the sessions of a key', async () => {
  const { owner } = system.fixture.keys;
  const codes: unknown[] = [];
  for (let n = 0; n < 21; n += 1) codes.push((await open(await request(owner))).body.code);
  expect(codes.at(-1)).toBe('E_QUOTA');
});

it('writes sign-ins of members down for their owner-admins, also those of a revoked key', async () => {
  now = systemClock.now();
  const { context } = system.fixture;
  const people = peopleFixture(system.fixture);
  const [brand, bureau] = [await people.organisation('Brand', 'brand'), await people.organisation('Bureau', 'bureau')];
  const [admin, designer] = [await people.enrol(brand, 'owner-admin'), await people.enrol(brand, 'designer')];
  const stranger = await people.enrol(bureau, 'owner-admin');
  const { cookie } = await open(await request(admin));
  expect((await open(await request(designer))).status).toBe(200);
  const of = (key: string) => (key === keyName(designer.publicKey) ? [{ name: key, at: 1, kept: new Set() }] : []);
  Object.assign(context.directory, { revocations: { of } });
  const stolen = await request(designer);
  for (const _ of [1, 2]) expect((await open(stolen)).body.code).toBe('E_REVOKED');
  Object.assign(context.directory, { revocations: undefined });
  // Somebody who has no key of the brand adds nothing to its log.
  expect((await open(await request(generateUserKey()))).status).toBeGreaterThan(400);

  const path = `/v1/organisations/${brand}/sign-ins`;
  const { body } = await ask('GET', path, { cookie });
  const seen = (body.items as SignInView[]).map(({ key, refused, device }) => [key, refused, device]);
  expect(seen.sort()).toEqual(
    [
      [keyName(admin.publicKey), false, 'laptop'],
      [keyName(designer.publicKey), false, 'laptop'],
      [keyName(designer.publicKey), true, 'laptop'],
    ].sort(),
  );
  expect(JSON.stringify(body)).not.toContain(cookie.split('=')[1]);
  for (const other of [designer, stranger]) {
    const { cookie: theirs } = await open(await request(other));
    expect((await ask('GET', path, { cookie: theirs })).body.code).toBe('E_FORBIDDEN');
  }
  await forgetSignIns({ ...context, clock: { ...context.clock, now: () => now + SIGN_IN_LOG_MS + 60_000 } });
  expect((await ask('GET', path, { cookie })).body.items).toEqual([]);
});

it('opens a session for the administrator, who is not registered', async () => {
  now = systemClock.now();
  const { admin, holder } = system.fixture.keys;
  const { body, cookie } = await open(await request(admin));
  expect(body).toMatchObject({ admin: true, name: 'administrator', key: keyName(admin.publicKey) });
  expect((await ask('GET', '/v1/usage/totals', { cookie })).status).toBe(200);
  // Somebody else, also with the administrator's name in the header of the document.
  const { cookie: other } = await open(await request(holder));
  expect((await ask('GET', '/v1/usage/totals', { cookie: other })).body.code).toBe('E_FORBIDDEN');
  const forged = { ...generateUserKey(), publicKey: admin.publicKey };
  expect((await open(await request(forged))).body.code).toMatch(/^E_(AUTH|SIGNATURE)$/);
});

it('keeps organisations apart: the owner-admin of another one reads and changes nothing of its people', async () => {
  now = systemClock.now();
  const { context } = system.fixture;
  const people = peopleFixture(system.fixture);
  const [brand, bureau] = [await people.organisation('Brand', 'brand'), await people.organisation('Bureau', 'bureau')];
  const [admin, other] = [await people.enrol(brand, 'owner-admin'), await people.enrol(bureau, 'owner-admin')];
  const { cookie: own } = await open(await request(admin));
  const { cookie: theirs } = await open(await request(other));
  const submit = async (signer: MemorySigner, body: Parameters<typeof people.sign>[1], cookie: string) =>
    ask('POST', '/v1/transactions', { cookie, json: { transaction: toBase64(await people.sign(signer, body)) } });
  const until = now + 86_400_000;
  const invited = () => ({
    ...{ type: 'member.invite' as const, organisation: brand, person: toHex(systemRandom(16)), name: 'Eve' },
    ...{ roles: ['owner-admin' as const], invitation: generateUserKey().publicKey, until },
  });
  const token = {
    type: 'token.create' as const,
    name: 'mine',
    scopes: ['people:read' as const],
    hash: systemRandom(32),
    until,
  };
  const made = await submit(admin, token, own);
  expect(made.status).toBe(200);

  // The control of the attack: what the others may not, the organisation's own owner-admin may.
  const paths = ['keys', 'invitations', 'tokens', 'sign-ins'].map((part) => `/v1/organisations/${brand}/${part}`);
  for (const path of [...paths, `/v1/keys/${keyName(admin.publicKey)}/documents`]) {
    expect([path, (await ask('GET', path, { cookie: own })).status]).toEqual([path, 200]);
    expect([path, (await ask('GET', path, { cookie: theirs })).body.code]).toEqual([path, 'E_FORBIDDEN']);
  }
  expect((await submit(other, invited(), theirs)).body.code).toBe('E_FORBIDDEN');
  const [found] = (await ask('GET', '/v1/tokens', { cookie: own })).body.items as { token: string }[];
  const revoke = { type: 'token.revoke' as const, token: found?.token ?? '' };
  expect((await submit(other, revoke, theirs)).body.code).toBe('E_FORBIDDEN');
  // Signed by its own owner-admin, but submitted in the session of the other.
  expect((await submit(admin, invited(), theirs)).body.code).toBe('E_FORBIDDEN');
  expect((await submit(admin, invited(), own)).status).toBe(200);
  expect((await submit(admin, revoke, own)).status).toBe(200);
  expect((await ask('GET', `/v1/organisations/${brand}/invitations`, { cookie: own })).body.items).toHaveLength(2);
  expect(await context.records.organisations.require(bureau)).toMatchObject({ name: 'Bureau' });
});

it('refuses a request for a session that is larger than any, and counts it', async () => {
  const large = await open('A'.repeat(16_385));
  expect([large.status, large.body.code]).toEqual([413, 'E_TOO_LARGE']);
  expect((await open('A'.repeat(16_000))).body.code).toBe('E_SIGNATURE');
});

it('a session goes on at the next active control node, which has the same store, and nowhere else', async () => {
  const { clock } = system.fixture.context;
  const next = new Sessions(store, { clock, random: systemRandom, key });
  const holder = { kind: 'key', name: 'bb' } as const;
  const opened = await new Sessions(store, { clock, random: systemRandom, key }).open(holder);
  expect(await next.use(opened.secret)).toMatchObject({ holder, until: opened.until });
  expect(
    await new Sessions(new MemoryRecords(), { clock, random: systemRandom, key }).use(opened.secret),
  ).toBeUndefined();
  // The store does not tell the secret.
  const { entries } = await store.collection('session').page({ limit: 1_000 });
  expect(entries.length).toBeGreaterThan(0);
  for (const { key, value } of entries)
    expect(`${key} ${Buffer.from(value).toString('latin1')}`).not.toContain(opened.secret);
  await next.close(opened.secret);
  expect(await new Sessions(store, { clock, random: systemRandom, key }).use(opened.secret)).toBeUndefined();
});

it('who writes to the keyspace makes no session, of nobody, and prolongs none', async () => {
  const { owner, holder } = system.fixture.keys;
  const design = `/v1/designs/${system.design}`;
  const records = store.collection('session');
  for (const { key: earlier } of (await records.page({ limit: 1_000 })).entries) await records.delete(earlier);
  const secret = 'F'.repeat(43);
  const id = toHex(sha256(utf8(secret)));
  const statusOf = async (of = secret) => (await ask('GET', design, { cookie: `${COOKIE}=${of}` })).status;
  const record = { holder: { kind: 'key', name: keyName(owner.publicKey) }, until: now + 3_600_000, used: now };
  // Without a MAC, with one of zeros, and with that of a genuine session of the same holder.
  const opened = await open(await request(owner));
  expect(opened.status).toBe(200);
  const genuine = opened.cookie.slice(`${COOKIE}=`.length);
  const own = toHex(sha256(utf8(genuine)));
  const kept = (await records.get(own)) ?? new Uint8Array();
  await records.put(id, encodeCbor(record));
  expect(await statusOf()).toBe(401);
  await records.put(id, encodeCbor({ ...record, mac: new Uint8Array(32) }));
  expect(await statusOf()).toBe(401);
  await records.put(id, kept);
  expect(await statusOf()).toBe(401);
  const changes = [
    { holder: { kind: 'key', name: keyName(holder.publicKey) } },
    { until: now + 9e9 },
    { used: now + 1 },
  ];
  for (const change of changes) {
    await records.put(own, encodeCbor({ ...(decodeCbor(kept, 'session') as object), ...change } as never));
    expect(await statusOf(genuine)).toBe(401);
  }
  await records.put(own, kept);
  expect(await statusOf(genuine)).toBe(200); // its own secret and its own record: put back, it goes on, until its end
  // The control: with the key of the control nodes, which is not in the keyspace, the forged record would count.
  const forger = new Sessions(store, {
    clock: system.fixture.context.clock,
    random: () => new Uint8Array(32).fill(7),
    key,
  });
  const forged = await forger.open({ kind: 'key', name: keyName(owner.publicKey) });
  expect(await statusOf(forged.secret)).toBe(200);
});

it('who writes to the keyspace enrols no key and gives nobody a role: credentials decide', async () => {
  now = systemClock.now();
  const { context, keys } = system.fixture;
  const { users } = context.records;
  const people = peopleFixture(system.fixture);
  const brand = await people.organisation('Brand', 'brand');
  const [admin, designer] = [await people.enrol(brand, 'owner-admin'), await people.enrol(brand, 'designer')];
  const [kept, high] = await Promise.all([designer, admin].map((key) => users.require(keyName(key.publicKey))));
  if (kept?.member === undefined || high?.member === undefined) throw new Error('not enrolled');
  // The control: with their own records, both sign in; only the owner-admin sees who did.
  const signIns = `/v1/organisations/${brand}/sign-ins`;
  const read = async (cookie: string) => (await ask('GET', signIns, { cookie })).body.code ?? 'read';
  expect(await read((await open(await request(admin))).cookie)).toBe('read');
  const { cookie } = await open(await request(designer));
  expect(await read(cookie)).toBe('E_FORBIDDEN');

  const userAuthority = await createAuthority('users', now);
  // A key of the attacker's, with the record and the document of an owner-admin.
  const own = generateUserKey();
  const name = keyName(own.publicKey);
  const forgeries = [
    { ...high, user: name, publicKey: own.publicKey },
    { ...high, publicKey: own.publicKey },
    {
      user: name,
      name: 'me',
      publicKey: own.publicKey,
      document: (await users.require(keyName(keys.owner.publicKey))).document,
    },
    { user: name, name: 'me', publicKey: own.publicKey, document: new Uint8Array(9) },
    // It signs its own registration.
    {
      user: name,
      name: 'me',
      publicKey: own.publicKey,
      document: await people.sign(own, { type: 'user.register', publicKey: own.publicKey, name: 'me' }),
    },
  ];
  for (const forged of forgeries) {
    await users.put(name, forged);
    expect((await open(await request(own))).body.code).toBe('E_AUTH');
    // Nor does control certify it: other nodes would accept the certificate.
    const certificate = await people.sign(own, { type: 'certificate.request', tlsKey: tlsPublicKey(createTlsKey()) });
    await expect(issueCertificate({ ...context, userAuthority }, certificate)).rejects.toMatchObject({
      code: 'E_AUTH',
    });
  }
  // A member with another role, organisation or end than its credential gives it.
  const key = keyName(designer.publicKey);
  const changes = [
    { roles: ['owner-admin' as const] },
    { organisation: 'a'.repeat(32) },
    { until: now + 9e12 },
    { person: high.member.person },
  ];
  for (const change of changes) {
    await users.put(key, { ...kept, member: { ...kept.member, ...change } });
    expect(await read(cookie)).toBe('E_AUTH');
  }
  const { member: _, ...single } = kept;
  await users.put(key, single);
  expect(await read(cookie)).toBe('E_AUTH');
  await users.put(key, kept);
  expect(await read(cookie)).toBe('E_FORBIDDEN');
});

it('a key has at most 20 sessions, also if it asks for many at once; ended ones do not count', async () => {
  const clock = { now: () => now, monotonic: () => now };
  const sessions = new Sessions(new MemoryRecords(), { clock, random: systemRandom, key });
  const holder = { kind: 'key', name: 'aa' } as const;
  const many = await Promise.allSettled(Array.from({ length: 30 }, () => sessions.open(holder)));
  expect(many.filter(({ status }) => status === 'fulfilled')).toHaveLength(20);
  now += IDLE_MS + 1;
  await sessions.open(holder);
});
