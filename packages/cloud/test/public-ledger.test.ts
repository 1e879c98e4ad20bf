import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Closer, silentLogger } from '@millrace/base';
import { createAuthority } from '@millrace/identity';
import { type Ledger, openCheckpoint, parseVerifierKey, tilePath, tilesOf } from '@millrace/ledger';
import { callPublic, type PublicLimits, type PublicServer } from '@millrace/protocol';
import { MemoryStore, openTestLedger, request } from '@millrace/testkit/ledger/helpers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { servePublicLedger } from '../src/control/public-ledger.ts';

const SIZE = 300;
const closer = new Closer();
let ledger: Ledger;
let authority: string;
let folder: string;
let url: string;
let serve: (limits?: Partial<PublicLimits>) => Promise<PublicServer>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace-public-'));
  closer.add({ close: () => rm(folder, { recursive: true, force: true }) });
  ledger = await openTestLedger(new MemoryStore());
  await ledger.appendMany(Array.from({ length: SIZE }, (_, n) => request(`machine-${n}`, 'machine')));
  const ca = await createAuthority('test', Date.now());
  authority = ca.identity.certificate;
  await writeFile(join(folder, 'ca.pem'), authority);
  const tls = await ca.issue({ role: 'control', id: 'control-1' }, ['127.0.0.1', 'localhost']);
  serve = async (limits = {}) =>
    closer.add(
      await servePublicLedger({
        ...{ address: { host: '127.0.0.1', port: 0 }, tls, ledger, limits },
        checkpoint: () => ledger.checkpoint(),
        isServing: () => !quarantined,
        logger: silentLogger,
      }),
    );
  url = `https://127.0.0.1:${(await serve()).address.port}`;
});
afterAll(() => closer.close());

let quarantined = false;
const get = (path: string) => callPublic({ url: new URL(path, url), authority, maxBytes: 1 << 24 });

/** Sends one request verbatim, so that no client library normalises it. */
async function raw(head: string): Promise<{ status: number; headers: string; body: string }> {
  const { connect: connectTls } = await import('node:tls');
  const { port, hostname } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connectTls({ port: Number(port), host: hostname, ca: authority });
    let text = '';
    socket.on('error', reject);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
    });
    socket.on('end', () => {
      const [headers = '', ...body] = text.split('\r\n\r\n');
      resolve({ status: Number(headers.split(' ')[1]), headers: headers.toLowerCase(), body: body.join('\r\n\r\n') });
    });
    socket.write(`${head}\r\nhost: x\r\nconnection: close\r\n\r\n`);
  });
}

describe('the public ledger', () => {
  it('serves checkpoint, tiles and entries without a client certificate', async () => {
    const { status, body } = await get('/checkpoint');
    expect(status).toBe(200);
    expect(openCheckpoint(body, { logKey: parseVerifierKey(ledger.logKey) }).size).toBe(SIZE);
    const paths = [...tilesOf(SIZE)].map((tile) => tilePath({ kind: 'hashes', ...tile }));
    paths.push('tile/entries/000', 'tile/entries/001.p/44', 'tile/entries/001.p/1', 'tile/0/001.p/7');
    expect(paths).toContain('tile/1/000.p/1');
    for (const path of paths) {
      const answer = await get(`/${path}`);
      expect([path, answer.status]).toEqual([path, 200]);
      expect(answer.body).toEqual(await ledger.tile(path));
    }
  });

  it('lets caches keep tiles permanently and the checkpoint for seconds', async () => {
    const tile = await raw('GET /tile/0/000 HTTP/1.1');
    expect(tile.headers).toContain('content-type: application/octet-stream');
    expect(tile.headers).toContain('cache-control: public, max-age=31536000, immutable');
    const checkpoint = await raw('GET /checkpoint HTTP/1.1');
    expect(checkpoint.headers).toContain('content-type: text/plain; charset=utf-8');
    expect(checkpoint.headers).toContain('cache-control: public, max-age=2\r\n');
    const etag = /etag: ("[0-9a-f]{32}")/.exec(tile.headers)?.[1] ?? '';
    const again = await raw(`GET /tile/0/000 HTTP/1.1\r\nif-none-match: "x", W/${etag}`);
    expect([again.status, again.body]).toEqual([304, '']);
    const other = await raw('GET /tile/0/000 HTTP/1.1\r\nif-none-match: "x"');
    expect([other.status, other.body.length]).toEqual([200, 8192]);
    const head = await raw('HEAD /tile/0/000 HTTP/1.1');
    expect([head.status, head.body]).toEqual([200, '']);
    expect(head.headers).toContain('content-length: 8192');
  });

  it.each([
    '/',
    '/v1/ledger/checkpoint',
    '/v1/objects',
    '/v1/directory',
    '/openapi.json',
    '/checkpoint/',
    '/checkpoint?fresh',
    '//checkpoint',
    '/Checkpoint',
    '/tile/0/000?x=1',
    '/tile/0/0',
    '/tile/00/000',
    '/tile/64/000',
    '/tile/0/000.p/256',
    '/tile/0/000.p/0',
    '/tile/0/001',
    '/tile/0/001.p/45',
    '/tile/2/000.p/1',
    '/tile/entries/x001/x234/067',
    '/tile/entries/../../checkpoint',
    '/tile/entries/%2e%2e/000',
    `/tile/${'x'.repeat(400)}`,
    'https://other.example/checkpoint',
  ])('answers 404 at %s', async (path) => {
    const { status, headers } = await raw(`GET ${path} HTTP/1.1`);
    expect(status).toBe(404);
    expect(headers).toContain('cache-control: no-store');
  });

  it.each(['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'TRACE'])('rejects %s', async (method) => {
    const { status, headers } = await raw(`${method} /checkpoint HTTP/1.1`);
    expect(status).toBe(405);
    expect(headers).toContain('allow: get, head');
  });

  it('closes connections that send their request too slowly', async () => {
    const { address } = await serve({ headersMs: 200, transferMs: 400 });
    const sockets = [connect(address.port, '127.0.0.1'), connect(address.port, '127.0.0.1')];
    sockets[0]?.write('G');
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  });

  it('closes connections of one address beyond its limit', async () => {
    const { address } = await serve({ connectionsPerAddress: 2 });
    const open = () => connect(address.port, '127.0.0.1').on('error', () => undefined);
    const kept = [open(), open()];
    await Promise.all(kept.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
    await new Promise((resolve) => open().once('close', resolve));
    expect(kept.map((socket) => socket.destroyed)).toEqual([false, false]);
    for (const socket of kept) socket.destroy();
  });

  it('tells a load balancer whether control serves', async () => {
    const well = await get('/healthz');
    expect([well.status, new TextDecoder().decode(well.body)]).toEqual([200, 'ok\n']);
    quarantined = true;
    expect((await get('/healthz')).status).toBe(503);
    quarantined = false;
  });

  it('answers 503 when too many requests are in progress', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const slow = { tile: async (path: string) => held.then(() => ledger.tile(path)) };
    const server = closer.add(
      await servePublicLedger({
        ...{ address: { host: '127.0.0.1', port: 0 }, ledger: slow, logger: silentLogger },
        tls: await (await createAuthority('other', Date.now())).issue({ role: 'control', id: 'control-1' }, []),
        checkpoint: () => ledger.checkpoint(),
        isServing: () => true,
        limits: { answersAtOnce: 1 },
      }),
    );
    const { Agent, get: getInsecurely } = await import('node:https');
    const agent = new Agent({ rejectUnauthorized: false });
    const ask = (path: string) =>
      new Promise<number>((resolve, reject) => {
        getInsecurely({ port: server.address.port, host: '127.0.0.1', path, agent }, (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        }).on('error', reject);
      });
    const first = ask('/tile/0/000');
    let second = await ask('/checkpoint');
    // The first request may reach the server after the second one.
    while (second === 200) second = await ask('/checkpoint');
    expect(second).toBe(503);
    release();
    expect(await first).toBe(200);
  });
});

const curl = '/usr/bin/curl';
if (!existsSync(curl)) console.log('the public ledger with curl: NOT CHECKED, there is no curl');
describe.runIf(existsSync(curl))('curl', () => {
  const run = (...args: string[]) => promisify(execFile)(curl, ['--silent', '--fail', ...args], { encoding: 'buffer' });

  it('reads the log with the given authority, and not without it', async () => {
    const ca = join(folder, 'ca.pem');
    const { stdout } = await run('--cacert', ca, `${url}/checkpoint`);
    expect(openCheckpoint(stdout, { logKey: parseVerifierKey(ledger.logKey) }).size).toBe(SIZE);
    const tile = await run('--cacert', ca, `${url}/tile/entries/001.p/44`);
    expect(new Uint8Array(tile.stdout)).toEqual(await ledger.tile('tile/entries/001.p/44'));
    await expect(run(`${url}/checkpoint`)).rejects.toThrow();
  });
});
