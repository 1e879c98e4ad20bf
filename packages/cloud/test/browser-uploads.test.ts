import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Closer, noMetrics, silentLogger, systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import { generateP256Key, generateUserKey, keyName, type MemorySigner } from '@millrace/identity';
import { type Directory, signTransaction, signUploadTicket, type TransactionOf } from '@millrace/protocol';
import { registerKey } from '@millrace/testkit/protocol/support';
import { SEGMENT_BYTES } from '@millrace/vault';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type BrowserUploadsOptions, openBrowserUploads } from '../src/distribution/browser-uploads.ts';
import { Tickets } from '../src/distribution/tickets.ts';
import { MAX_UPLOAD_MS } from '../src/distribution/upload-sessions.ts';
import { Uploads } from '../src/distribution/uploads.ts';
import { answersInMemory, IdempotentAnswers } from '../src/node/idempotency.ts';

// Distribution's listener for browsers, over real sockets: what a person signs, and what others try with their own keys.

const PAGES = 'https://console.example';
const closer = new Closer();
const [admin, owner, stranger] = [generateUserKey(), generateUserKey(), generateUserKey()];
const permit = generateP256Key();
const revoked = new Set<string>();
const directory = {
  installation: toHex(systemRandom(16)),
  adminKey: toHex(admin.publicKey),
  permitKey: toHex(permit.publicKey),
  revocations: {
    of: (key: string) => (revoked.has(key) ? [{ name: 'a key', at: 1, kept: new Set<string>() }] : []),
  },
} as unknown as Directory;
let now = systemClock.now();
const clock = { ...systemClock, now: () => now, monotonic: () => now };
const [design, other] = [toHex(systemRandom(16)), toHex(systemRandom(16))];
let folder: string;
let uploads: Uploads;
let origin: string;

async function serve(changes: Partial<BrowserUploadsOptions> = {}): Promise<string> {
  const listener = closer.add(
    await openBrowserUploads({
      config: { browsers: { console: PAGES } },
      ...{ address: { host: '127.0.0.1', port: 0 }, consoleAddress: undefined },
      ...{ directory, uploads, tickets: new Tickets(directory, clock) },
      answers: await IdempotentAnswers.open(answersInMemory(), systemClock),
      ...{ clock, logger: silentLogger, metrics: noMetrics },
      ...changes,
    }),
  );
  return listener.origin ?? '';
}
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace browsers '));
  uploads = closer.add(new Uploads(folder));
  origin = await serve();
});
afterAll(async () => {
  await closer.close();
  await rm(folder, { recursive: true, force: true });
});

interface Sent {
  readonly body?: Uint8Array;
  readonly json?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly at?: string;
}
async function ask(method: string, path: string, { body, json, headers = {}, at = origin }: Sent = {}) {
  const { host, port } = new URL(at);
  const payload = json === undefined ? body : JSON.stringify(json);
  const type = json === undefined ? 'application/octet-stream' : 'application/json';
  const sent = { host, origin: PAGES, ...(payload === undefined ? {} : { 'content-type': type }), ...headers };
  return new Promise<{ status: number; code: string; json: Record<string, unknown>; headers: NodeJS.Dict<unknown> }>(
    (resolve, reject) => {
      const call = request({ port, path, method, headers: sent }, (answer) => {
        let text = '';
        answer.on('data', (part) => {
          text += String(part);
        });
        answer.on('end', () => {
          const given = (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>;
          const code = String(given.code ?? '');
          resolve({ status: answer.statusCode ?? 0, code, json: given, headers: answer.headers });
        });
      });
      call.on('error', reject);
      call.end(payload);
    },
  );
}

async function signed(signer: MemorySigner, changes: Partial<TransactionOf<'upload.open'>> = {}, by = admin) {
  const times = { id: systemRandom(16), issued: now, expires: now + MAX_UPLOAD_MS };
  const body = { type: 'upload.open' as const, ...times, design, origin, ...changes };
  const transaction = await signTransaction(signer, directory.installation, body);
  const credential = await registerKey(by, directory.installation, signer.publicKey, 'somebody');
  return { request: toBase64(transaction), credential: toBase64(credential) };
}
const open = async (json: unknown, headers: Record<string, string> = {}) =>
  ask('POST', '/v1/uploads', { json, headers });
async function ticket(signer: MemorySigner, changes: object = {}): Promise<string> {
  const [user, times] = [keyName(signer.publicKey), { issued: now, expires: now + 86_400_000 }];
  const body = { type: 'upload.ticket', id: systemRandom(16), ...times, design, user, owner: user, segments: 40 };
  return toBase64(await signUploadTicket(permit, directory.installation, { ...body, ...changes } as never));
}
/** Headers of somebody who has signed an upload and has control's ticket for it. */
async function admitted(signer = owner, of = design): Promise<Record<string, string>> {
  const { json } = await open(await signed(signer, { design: of }));
  return { 'millrace-upload': String(json.secret), 'millrace-ticket': await ticket(signer, { design: of }) };
}
const put = (headers: Record<string, string>, segment = 0, body = systemRandom(SEGMENT_BYTES), of = design) =>
  ask('PUT', `/v1/uploads/${of}/${segment}`, { body, headers });

it('a signed request lets a browser stage segments, several in a row, and list what is missing', async () => {
  const headers = await admitted();
  const run = systemRandom(3 * SEGMENT_BYTES);
  expect((await put(headers, 5, run)).status).toBe(200);
  expect(await uploads.get(design, '6')).toEqual(run.subarray(SEGMENT_BYTES, 2 * SEGMENT_BYTES));
  const { json } = await ask('GET', `/v1/uploads/${design}?segments=9`, { headers });
  expect(json).toEqual({ have: 3, missing: [0, 1, 2, 3, 4, 8] });
  expect((await put(headers, 38, run)).code).toBe('E_INPUT');
  expect((await put(headers, 0, systemRandom(SEGMENT_BYTES + 1))).code).toBe('E_INPUT');
  expect((await put(headers, 0, new Uint8Array())).code).toBe('E_INPUT');
  expect((await put(headers, 0, new Uint8Array(33 * SEGMENT_BYTES))).code).toBe('E_TOO_LARGE');
  expect((await uploads.have(design)).size).toBe(3);
});

it('tells only pages of the console that they may call, and says so before the request', async () => {
  const before = await ask('OPTIONS', `/v1/uploads/${design}/0`);
  expect([before.status, before.headers['access-control-allow-origin']]).toEqual([204, PAGES]);
  expect(before.headers['access-control-allow-headers']).toContain('millrace-upload');
  expect(before.headers['access-control-allow-credentials']).toBeUndefined();
  const headers = await admitted();
  for (const forged of ['https://evil.example', `${PAGES}.evil.example`, 'null', origin]) {
    const refused = await ask('OPTIONS', `/v1/uploads/${design}/0`, { headers: { origin: forged } });
    expect([forged, refused.status, refused.headers['access-control-allow-origin']]).toEqual([forged, 401, undefined]);
    expect((await put({ ...headers, origin: forged })).code).toBe('E_AUTH');
  }
  expect((await put({ ...headers, host: 'rebound.example' })).code).toBe('E_AUTH');
});

it('refuses what another key, another origin, another administrator or no key has signed', async () => {
  const good = await signed(owner);
  expect((await open(good)).status).toBe(200);
  const theirs = await signed(stranger);
  // The stranger’s signature with the owner’s credential, and the reverse.
  expect((await open({ ...theirs, credential: good.credential })).code).toMatch(/^E_(AUTH|SIGNATURE)$/);
  expect((await open({ ...good, credential: theirs.credential })).code).toMatch(/^E_(AUTH|SIGNATURE)$/);
  expect((await open(await signed(owner, {}, generateUserKey()))).code).toMatch(/^E_(AUTH|SIGNATURE)$/);
  expect((await open(await signed(owner, { origin: PAGES }))).code).toBe('E_AUTH');
  expect((await open(await signed(owner, { expires: now + 2 * MAX_UPLOAD_MS }))).code).toBe('E_FORBIDDEN');
  expect((await open(await signed(owner, { issued: now - 9e7, expires: now - 8e7 }))).code).toBe('E_EXPIRED');
  const session = { type: 'session.open', origin } as never;
  expect((await open(await signed(owner, session))).code).toBe('E_INPUT');
  expect((await open({ request: '*', credential: '*' })).code).toBe('E_INPUT');
  expect((await open({ request: 'AAAA', credential: 'A'.repeat(70_000) })).code).toBe('E_TOO_LARGE');
});

it('a stranger’s upload reaches no design of the owner, with either half of the proof', async () => {
  const [mine, theirs] = [await admitted(), await admitted(stranger)];
  // Control refuses the stranger a ticket. The owner’s ticket is for the owner.
  expect((await put({ ...theirs, 'millrace-ticket': mine['millrace-ticket'] ?? '' })).code).toBe('E_FORBIDDEN');
  expect((await put({ ...mine, 'millrace-ticket': theirs['millrace-ticket'] ?? '' })).code).toBe('E_FORBIDDEN');
  // Even with a ticket that a hostile control has signed: the design is staged by another owner.
  await put(mine);
  expect((await put(theirs)).code).toBe('E_FORBIDDEN');
  // For another design of the same owner.
  expect((await put(mine, 0, undefined, other)).code).toBe('E_FORBIDDEN');
  const { 'millrace-upload': secret = '' } = mine;
  expect((await put({ 'millrace-upload': secret })).code).toBe('E_FORBIDDEN');
  expect((await put({ 'millrace-ticket': mine['millrace-ticket'] ?? '' })).code).toBe('E_AUTH');
  expect((await put({ ...mine, 'millrace-upload': secret.toLowerCase() })).code).toBe('E_AUTH');
  const { code } = await ask('GET', `/v1/uploads/${design}?segments=9`, { headers: { 'millrace-upload': secret } });
  expect(code).toBe('E_FORBIDDEN');
});

it('serves browsers nothing else: staged segments are neither read nor wiped here', async () => {
  const headers = await admitted();
  await put(headers);
  for (const method of ['GET', 'DELETE', 'POST'])
    expect((await ask(method, `/v1/uploads/${design}/0`, { headers })).code).toBe('E_METHOD');
  expect((await ask('DELETE', `/v1/uploads/${design}`, { headers })).code).toBe('E_METHOD');
  for (const path of ['/v1/directory', '/v1/revocations', '/v1/openapi.json', '/'])
    expect((await ask('GET', path, { headers })).code).toBe('E_NOT_FOUND');
});

it('ends with the request’s time, with the key’s revocation, and is bounded for each key', async () => {
  const headers = await admitted();
  expect((await put(headers)).status).toBe(200);
  now += MAX_UPLOAD_MS + 1_000;
  expect((await put(headers)).code).toBe('E_EXPIRED');
  const again = await admitted();
  revoked.add(keyName(owner.publicKey));
  expect((await put(again)).code).toBe('E_REVOKED');
  expect((await open(await signed(owner))).code).toBe('E_REVOKED');
  revoked.clear();
  const first = await admitted();
  expect((await put(first)).status).toBe(200);
  for (let n = 0; n < 16; n++) await admitted();
  expect((await put(first)).code).toBe('E_AUTH');
});

it('closes slow uploads and leaves nothing of them, and refuses addresses that fail too often', async () => {
  const quick = await serve({ limits: { headersMs: 200, transferMs: 400 } });
  const { json } = await ask('POST', '/v1/uploads', { json: await signed(owner, { origin: quick }), at: quick });
  const { host, port } = new URL(quick);
  const slow = connect(Number(port), '127.0.0.1').on('error', () => undefined);
  const closed = new Promise((resolve) => slow.once('close', resolve));
  slow.resume();
  const before = (await readdir(join(folder, design))).sort();
  slow.write(
    [
      `PUT /v1/uploads/${design}/30 HTTP/1.1`,
      ...[`host: ${host}`, `origin: ${PAGES}`, `millrace-upload: ${String(json.secret)}`],
      ...[`millrace-ticket: ${await ticket(owner)}`, 'content-type: application/octet-stream'],
      ...[`content-length: ${SEGMENT_BYTES}`, '', 'part'],
    ].join('\r\n'),
  );
  await closed;
  expect((await readdir(join(folder, design))).sort()).toEqual(before);
  const codes = new Set<string>();
  for (let n = 0; n < 40; n++) codes.add((await open({ request: 'AAAA', credential: 'AAAA' })).code);
  expect(codes).toContain('E_RATE');
});
