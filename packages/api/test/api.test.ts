import { errorCodes, MillraceError, problemOf } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import {
  controlRoutes,
  createApiClient,
  distributionLinks,
  distributionRoutes,
  everyPage,
  fetchTransport,
  openApiOf,
  routesOf,
  type Transport,
  type TransportRequest,
} from '../src/index.ts';

const id = '0a'.repeat(16);

function recorded(answer: unknown) {
  const calls: [string, string, TransportRequest][] = [];
  const transport: Transport = {
    call: async (method, path, request) => {
      calls.push([method, path, request]);
      return { status: answer === undefined ? 204 : 200, body: new Uint8Array([1, 2]), json: () => answer };
    },
  };
  return { calls, control: createApiClient(controlRoutes, { transport }) };
}

describe('declared routes', () => {
  const all = [...routesOf(controlRoutes), ...routesOf(distributionRoutes)];

  it('have a unique method and path, and an answer for callers without access', () => {
    for (const routes of [controlRoutes, distributionRoutes]) {
      const names = routesOf(routes).map(([, { method, path }]) => `${method} ${path.replace(/\{\w+/g, '{')}`);
      expect(new Set(names).size).toBe(names.length);
    }
    for (const [name, { callers, params, path }] of all) {
      expect(callers.length, name).toBeGreaterThan(0);
      expect(Object.keys(params.shape).sort(), name).toEqual([...path.matchAll(/\{(\w+)/g)].map(([, p]) => p).sort());
    }
  });

  it('answer what a caller sends wrongly with no 500; only lost cells are a declared fault of the server', () => {
    const declared = all.flatMap(([, { errors }]) => errors).filter((each) => errorCodes[each].http === 500);
    expect(new Set(declared)).toEqual(new Set(['E_CELL_MISSING', 'E_CELL_DAMAGED']));
  });

  it('of machines use CBOR over the link in both directions', () => {
    for (const { body, answer } of Object.values(controlRoutes.machineCalls))
      expect([body.kind, answer.kind]).toEqual(['cbor', 'cbor']);
  });

  it('produce an OpenAPI document with each route and its errors', () => {
    const { paths, openapi } = openApiOf(controlRoutes, 'control');
    expect(openapi).toBe('3.1.0');
    const operations = Object.values(paths).flatMap((path) => Object.values(path));
    expect(operations).toHaveLength(routesOf(controlRoutes).length);
    expect(paths['/v1/directory']?.get).toMatchObject({ responses: { 200: {}, 204: {} } });
    const links = openApiOf(distributionRoutes, 'distribution', { links: distributionLinks })['x-websockets'];
    expect(links).toMatchObject([{ path: '/v1/machine', 'x-callers': ['machine'] }, { path: '/v1/node' }]);
    expect(paths['/v1/prints']?.get).toMatchObject({
      operationId: 'prints.list',
      parameters: [
        { name: 'limit', in: 'query', required: false },
        { name: 'cursor', in: 'query', required: false },
      ],
    });
    expect(paths['/v1/designs/{id}/repair']?.post).toMatchObject({
      parameters: [
        { name: 'id', required: true },
        { name: 'idempotency-key', required: false },
      ],
      responses: {
        403: { description: 'E_REVOKED, E_SCOPE, E_FORBIDDEN', content: { 'application/problem+json': {} } },
        422: { description: 'E_IDEMPOTENCY' },
      },
    });
  });
});

describe('the typed client', () => {
  it('fills in path, query, body and idempotency key', async () => {
    const { control, calls } = recorded({ repair: id });
    await control.designs.repair({ id, body: { segments: [1] } }, { idempotencyKey: 'k' });
    await control.prints.list({ limit: 5, cursor: 'a/b' }).catch(() => undefined);
    await control.ledger.tile({ path: 'entries/x001/000' });
    expect(calls.map(([method, path]) => `${method} ${path}`)).toEqual([
      `POST /v1/designs/${id}/repair`,
      'GET /v1/prints?limit=5&cursor=a%2Fb',
      'GET /v1/ledger/tile/entries/x001/000',
    ]);
    expect(calls[0]?.[2]).toMatchObject({ json: { segments: [1] }, headers: { 'idempotency-key': 'k' }, poll: false });
  });

  it('escapes parameters, so that they reach no other path', async () => {
    const { control, calls } = recorded({});
    await control.designs.get({ id: '../../status?x' }).catch(() => undefined);
    expect(calls[0]?.[1]).toBe('/v1/designs/..%2F..%2Fstatus%3Fx');
  });

  it('rejects an answer that does not match its declaration, and accepts additional fields', async () => {
    const refused = recorded({ items: [{}] }).control.machines.list();
    await expect(refused).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
    expect(await recorded({ items: [], colour: 'red' }).control.machines.list()).toEqual({ items: [] });
  });

  it('returns undefined for an empty answer', async () => {
    expect(await recorded(undefined).control.directory.newest({ after: 3 })).toBeUndefined();
    const signed = { directory: { version: 2 }, signature: 'ab' };
    const { control, calls } = recorded(signed);
    expect(await control.directory.newest({ after: 3 })).toEqual(signed);
    expect(calls[0]?.[1]).toBe('/v1/directory?after=3');
  });

  it('reads all pages', async () => {
    const pages: Record<string, { items: number[]; next?: string }> = {
      '': { items: [1, 2], next: 'a' },
      a: { items: [], next: 'b' },
      b: { items: [3] },
    };
    expect(await everyPage(async (cursor = '') => pages[cursor] ?? { items: [] })).toEqual([1, 2, 3]);
  });

  it('works over fetch, and throws the error of a problem document', async () => {
    const error = new MillraceError('E_STATE', 'the design is uploading', { data: { design: id } });
    const problem = JSON.stringify(problemOf(error));
    const asked: string[] = [];
    const send = (answer: () => Response) =>
      createApiClient(controlRoutes, {
        transport: fetchTransport('https://control:1', (async (url: string, init: RequestInit) => {
          asked.push(`${init.method} ${url}`);
          return answer();
        }) as unknown as typeof fetch),
      });
    const refused = send(() => new Response(problem, { status: 409 })).designs.ticket({ id });
    await expect(refused).rejects.toMatchObject({ code: 'E_STATE', message: error.message, data: error.data });
    const proxy = send(() => new Response('<html>', { status: 502 })).designs.ticket({ id });
    await expect(proxy).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
    const away = send(() => {
      throw new TypeError('failed to fetch');
    }).designs.ticket({ id });
    await expect(away).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
    expect(await send(() => new Response('{"ticket":"AAAA"}')).designs.ticket({ id })).toEqual({ ticket: 'AAAA' });
    expect(asked[0]).toBe(`GET https://control:1/v1/designs/${id}/ticket`);
  });
});
