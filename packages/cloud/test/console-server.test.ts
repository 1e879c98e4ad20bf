import { request } from 'node:http';
import { connect } from 'node:net';
import { Closer, MemoryMetrics, MillraceError, silentLogger, utf8 } from '@millrace/base';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type ConsoleServer, type ConsoleServerOptions, serveConsole } from '../src/control/console/server.ts';

const closer = new Closer();
let server: ConsoleServer;
let changes = 0;
const metrics = new MemoryMetrics();
async function serve(limits: ConsoleServerOptions['limits'] = {}): Promise<ConsoleServer> {
  const file = (path: string, type: string, text: string) => ({
    ...{ path, type, body: utf8(text), immutable: path.startsWith('/assets/') },
  });
  return closer.add(
    await serveConsole({
      address: { host: '127.0.0.1', port: 0 },
      limits,
      files: [
        file('/index.html', 'text/html; charset=utf-8', '<!doctype html>'),
        file('/assets/a-1.js', 'text/javascript; charset=utf-8', 'x;'.repeat(500)),
      ],
      ...{ logger: silentLogger, metrics },
      mount: (mounted) => {
        mounted.post('/v1/change', async () => {
          changes += 1;
          return '{}';
        });
      },
      ledger: async ({ path }) => {
        if (path !== '/checkpoint') throw new MillraceError('E_NOT_FOUND', 'there is no such path');
        return { status: 200, type: 'text/plain', body: utf8('head') };
      },
    }),
  );
}
beforeAll(async () => {
  server = await serve();
});
afterAll(() => closer.close());

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

/** `fetch` sets Host and Origin by itself. */
function ask(path: string, method = 'GET', headers: Record<string, string> = {}): Promise<Answer> {
  const { port, host } = new URL(server.origin);
  return new Promise((resolve, reject) => {
    const call = request({ port, path, method, headers: { host, ...headers } }, (answer) => {
      let body = '';
      answer.on('data', (part) => {
        body += String(part);
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body }));
    });
    call.on('error', reject);
    call.end(method === 'POST' ? '{}' : undefined);
  });
}

describe('the console’s server', () => {
  it('serves page, assets and the public ledger, and nothing else', async () => {
    expect(server.origin).toMatch(/^http:\/\/localhost:\d+$/);
    const page = await ask('/?x=1');
    expect([page.status, page.body, page.headers['cache-control']]).toEqual([200, '<!doctype html>', 'no-cache']);
    const asset = await ask('/assets/a-1.js', 'GET', { 'accept-encoding': 'gzip' });
    expect(asset.headers['cache-control']).toBe('public, max-age=31536000, immutable');
    expect(asset.headers['content-encoding']).toBe('gzip');
    const known = await ask('/assets/a-1.js', 'GET', { 'if-none-match': String(asset.headers.etag) });
    expect([known.status, known.body]).toEqual([304, '']);
    expect((await ask('/checkpoint')).body).toBe('head');
    for (const path of ['/index.htm', '/assets/../package.json', '/assets/%2e%2e/index.ts', '/tile/0/000', '//', '/v1'])
      expect([path, (await ask(path)).status]).toEqual([path, 404]);
    const { origin } = server;
    for (const [path, method] of [
      ['/', 'DELETE'],
      ['/assets/a-1.js', 'POST'],
      ['/checkpoint?x=1', 'PUT'],
      ['/', 'OPTIONS'],
    ] as const) {
      const refused = await ask(path, method, { origin });
      expect([path, refused.status, refused.headers.allow]).toEqual([path, 405, 'GET, HEAD']);
      expect(JSON.parse(refused.body)).toMatchObject({ code: 'E_METHOD' });
    }
    for (const path of ['/none', '/tile/0/000', '/index.html/'])
      expect([path, (await ask(path, 'DELETE', { origin })).status]).toEqual([path, 404]);
    // Refused before the body is read: it is never sent.
    const headers = { origin, 'content-type': 'application/json', 'content-length': '60000000' };
    expect((await ask('/v1/none', 'PUT', headers)).status).toBe(404);
    expect((await ask('/', 'PUT', headers)).status).toBe(405);
  });

  it('allows no foreign scripts, frames or addresses, also in answers of errors', async () => {
    for (const path of ['/', '/none', '/checkpoint']) {
      const { headers } = await ask(path);
      const policy = String(headers['content-security-policy']);
      expect(policy).toContain("default-src 'none'");
      expect(policy).toContain("script-src 'self'");
      expect(policy).toContain("frame-ancestors 'none'");
      expect(policy).not.toMatch(/unsafe|data:|https?:|\*/);
      expect([headers['x-frame-options'], headers['x-content-type-options'], headers['referrer-policy']]).toEqual([
        'DENY',
        'nosniff',
        'no-referrer',
      ]);
      expect(headers['access-control-allow-origin'] === undefined || path === '/checkpoint').toBe(true);
    }
  });

  it('lets nobody keep answers of the API', async () => {
    const headers = { origin: server.origin, 'content-type': 'application/json' };
    expect((await ask('/v1/change', 'POST', headers)).headers['cache-control']).toBe('no-store');
    expect((await ask('/none')).headers['cache-control']).toBe('no-store');
    changes = 0;
  });

  it('counts requests and refusals by route, apart from those of the other listener', async () => {
    const of = { route: 'GET /*', listener: 'console' };
    await Promise.all([ask('/'), ask('/none')]);
    await vi.waitFor(() => {
      for (const status of ['200', '404'])
        expect(metrics.value('millrace_http_seconds', { ...of, status })).toBeGreaterThan(0);
      expect(metrics.value('millrace_http_refusals_total', { ...of, code: 'E_NOT_FOUND' })).toBeGreaterThan(0);
    });
  });

  it('closes silent and slow connections, and those of one address beyond its limit', async () => {
    const open = (port: string) =>
      connect(Number(port), '127.0.0.1')
        .on('error', () => undefined)
        .resume();
    const closed = (socket: ReturnType<typeof open>) => new Promise((resolve) => socket.once('close', resolve));
    const { port: slow } = new URL((await serve({ headersMs: 200, transferMs: 400 })).origin);
    const [silent, begun] = [open(slow), open(slow)];
    begun.write('G');
    await Promise.all([closed(silent), closed(begun)]);
    const { port: few } = new URL((await serve({ connectionsPerAddress: 2 })).origin);
    const kept = [open(few), open(few)];
    await Promise.all(kept.map((socket) => new Promise((resolve) => socket.once('connect', resolve))));
    await closed(open(few));
    expect(kept.map((socket) => socket.destroyed)).toEqual([false, false]);
    for (const socket of kept) socket.destroy();
  });

  it('refuses requests for another host, and changes from pages of other sites', async () => {
    const { port } = new URL(server.origin);
    for (const host of ['evil.example', `127.0.0.1:${port}`, 'localhost', `localhost:${Number(port) + 1}`])
      expect([host, (await ask('/', 'GET', { host })).status]).toEqual([host, 401]);
    const post = async (headers: Record<string, string>) =>
      (await ask('/v1/change', 'POST', { 'content-type': 'application/json', ...headers })).status;
    expect(await post({})).toBe(401);
    expect(await post({ origin: 'null' })).toBe(401);
    expect(await post({ origin: `http://localhost:${Number(port) + 1}` })).toBe(401);
    expect(await post({ origin: `https://localhost:${port}` })).toBe(401);
    expect(await post({ origin: server.origin, 'sec-fetch-site': 'same-site' })).toBe(401);
    expect(await post({ origin: server.origin, 'sec-fetch-site': 'cross-site' })).toBe(401);
    expect(changes).toBe(0);
    expect(await post({ origin: server.origin, 'sec-fetch-site': 'same-origin' })).toBe(200);
    expect(changes).toBe(1);
  });
});
