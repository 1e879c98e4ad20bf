import { controlRoutes, TICKET_HEADER } from '@millrace/api';
import { systemClock, systemRandom, toBase64, toHex } from '@millrace/base';
import { signTransaction, type Transaction } from '@millrace/protocol';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { openApi as ofControl } from '../src/control/routes.ts';
import { openApi as ofDistribution } from '../src/distribution/routes.ts';
import { answersInMemory, IdempotentAnswers } from '../src/node/idempotency.ts';
import { type ApiFixture, actors, apiFixture, type ServedNode } from './api-fixture.ts';

let system: ApiFixture;
/** The owner's ticket for the design. */
let ticket: string;
beforeAll(async () => {
  system = await apiFixture();
  const { text } = await system.ask('owner', { method: 'GET', path: `/v1/designs/${system.design}/ticket` });
  ({ ticket } = JSON.parse(text) as { ticket: string });
});
afterAll(() => system?.close());

interface Operation {
  readonly parameters?: readonly { name: string; in: string; schema: Schema }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
  /** An event stream has no schema. */
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: Schema }>> }>
  >;
}
type Schema = Readonly<Record<string, unknown>>;

/** The OpenAPI documents as plain JSON, as they are served. */
const documents = JSON.parse(JSON.stringify({ control: ofControl, distribution: ofDistribution })) as Record<
  ServedNode,
  { paths: Record<string, Record<string, Operation>>; components: { schemas: { Problem: Schema } } }
>;
const nodes = ['control', 'distribution'] as const;

const schemas = new Map<Schema, z.ZodType>();
function schemaOf(schema: Schema): z.ZodType {
  const known = schemas.get(schema) ?? z.fromJSONSchema(schema as never);
  schemas.set(schema, known);
  return known;
}
const problem = schemaOf(documents.control.components.schemas.Problem);

/** Values that satisfy a JSON schema; supports the features that these schemas use. */
function arbitraryOf(schema: Schema): fc.Arbitrary<unknown> {
  if (Array.isArray(schema.enum)) return fc.constantFrom(...(schema.enum as unknown[]));
  if ('const' in schema) return fc.constant(schema.const);
  if (Array.isArray(schema.anyOf)) return fc.oneof(...(schema.anyOf as Schema[]).map(arbitraryOf));
  switch (schema.type) {
    case 'object': {
      const required = (schema.required ?? []) as string[];
      const fields = Object.entries((schema.properties ?? {}) as Record<string, Schema>);
      const shape = Object.fromEntries(fields.map(([name, field]) => [name, arbitraryOf(field)]));
      return fc.record(shape, { requiredKeys: required });
    }
    case 'array':
      return fc.array(arbitraryOf((schema.items ?? {}) as Schema), { maxLength: 4 });
    case 'integer':
      return fc.oneof(fc.nat(20), fc.integer());
    case 'number':
      return fc.oneof(fc.nat(20), fc.double());
    case 'boolean':
      return fc.boolean();
    case 'string':
      if (typeof schema.pattern === 'string' && /0-9a-f/.test(schema.pattern))
        return fc.constantFrom(system.design, system.licence, system.print, system.object, toHex(systemRandom(16)));
      return fc.oneof(fc.string(), fc.constantFrom('AAAA', 'x', 'keys-1', 'mail', '0/000'));
    default:
      return fc.jsonValue();
  }
}

const odd = fc.oneof(fc.string(), fc.constantFrom('..', '%', '__proto__', '-1', '1e9', 'x'.repeat(300)));
const mostly = <T, U>(usual: fc.Arbitrary<T>, other: fc.Arbitrary<U>) =>
  fc.oneof({ arbitrary: usual, weight: 4 }, { arbitrary: other, weight: 1 });

function requestOf(node: ServedNode, path: string, method: string, operation: Operation | undefined) {
  const { parameters = [], requestBody } = operation ?? {};
  const values = Object.fromEntries(parameters.map(({ name, schema }) => [name, mostly(arbitraryOf(schema), odd)]));
  const [media, content] = Object.entries(requestBody?.content ?? {})[0] ?? [];
  const body =
    media === 'application/json' ? mostly(arbitraryOf(content?.schema ?? {}), fc.jsonValue()) : fc.uint8Array();
  return fc.record({
    who: fc.constantFrom(...actors, 'guest' as const),
    node: fc.constant(node),
    path: fc.constant(path),
    method: fc.constant(method),
    values: fc.record(values, {
      requiredKeys: parameters.filter(({ in: where }) => where === 'path').map(({ name }) => name),
    }),
    json: fc.constant(media === 'application/json'),
    headers: mostly(fc.constant({ [TICKET_HEADER]: ticket }), fc.constantFrom({}, { [TICKET_HEADER]: 'AAAA' })),
    body: media === undefined ? fc.constant(undefined) : fc.option(body, { nil: undefined }),
  });
}

type Target = [node: ServedNode, path: string, method: string];
const methods = ['get', 'post', 'put', 'delete', 'patch', 'head', 'options'];

describe('the API against its OpenAPI document', () => {
  it('gives declared answers only, whatever the request', async () => {
    const targets = nodes.flatMap((node) =>
      Object.entries(documents[node].paths).flatMap(([path, operations]) => [
        ...Object.keys(operations).flatMap((method) => new Array<Target>(6).fill([node, path, method])),
        ...methods.map((method): Target => [node, path, method]),
      ]),
    );
    const requests = fc
      .constantFrom(...targets)
      .chain(([node, path, method]) => requestOf(node, path, method, documents[node].paths[path]?.[method]));
    await fc.assert(
      fc.asyncProperty(requests, async ({ who, node, path, method, values, json, body, headers }) => {
        const operations = documents[node].paths[path] ?? {};
        const operation = operations[method === 'head' ? 'get' : method];
        const given = values as Record<string, unknown>;
        const text = (name: string) => encodeURIComponent(String(given[name]));
        const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => (name in given ? text(name) : 'x'));
        const query = (operation?.parameters ?? []).flatMap(({ name, in: where }) =>
          where === 'query' && name in given ? [`${name}=${text(name)}`] : [],
        );
        const url = query.length === 0 ? filled : `${filled}?${query.join('&')}`;
        // The fuzzer's polls do not wait, and its streams of events end at once.
        const short = url.replace(/(wait|seconds)=\d+/, '$1=0');
        const ends = short.startsWith('/v1/events') && !short.includes('seconds=');
        const whole = ends ? `${short}${short.includes('?') ? '&' : '?'}seconds=0` : short;
        const asked = { node, method: method.toUpperCase(), path: whole, headers };
        const sent = body === undefined ? {} : json ? { json: body } : { body: body as Uint8Array };
        const { status, media, text: answer, headers: answered } = await system.ask(who, { ...asked, ...sent });
        const what = `${who} ${asked.method} ${asked.path}: ${status} ${answer.slice(0, 300)}`;

        if (status === 404 && !filled.split('/').every((part) => part !== '' && part.length <= 100)) return;
        expect(status, what).not.toBe(500);
        // "." and ".." change the path.
        if (filled.split('/').some((part) => /^(\.|%2e){1,2}$/i.test(part))) return;
        const declared = operation?.responses[String(status)];
        if (method === 'options') {
          expect(status, what).toBe(204);
          return;
        }
        if (status === 405) {
          expect(answered.allow, what).toBeDefined();
          expect(operation === undefined || method === 'head', what).toBe(true);
          return;
        }
        expect(declared, what).toBeDefined();
        expect(system.undeclared).toEqual([]);
        if (method === 'head') return;
        if (declared?.content === undefined) {
          expect(answer, what).toBe('');
          return;
        }
        expect(declared.content[media], what).toBeDefined();
        const schema = declared.content[media]?.schema;
        if (status >= 400) expect(problem.safeParse(JSON.parse(answer)).error, what).toBeUndefined();
        else if (media === 'application/json')
          expect(schemaOf(schema as Schema).safeParse(JSON.parse(answer)).error, what).toBeUndefined();
      }),
      {
        numRuns: Number(process.env.MILLRACE_REQUESTS ?? 1_500),
        seed: Number(process.env.MILLRACE_SEED ?? Date.now()),
      },
    );
  });

  it('rejects every method that a path does not have, and lists those that it has', async () => {
    for (const node of nodes) {
      for (const [path, operations] of Object.entries(documents[node].paths)) {
        const filled = path.replace(/\{(\w+)\}/g, 'x');
        for (const method of methods) {
          if (method in operations || method === 'options' || method === 'head') continue;
          const { status, headers, text } = await system.ask('owner', {
            node,
            method: method.toUpperCase(),
            path: filled,
          });
          expect([status, JSON.parse(text).code], `${method} ${filled}`).toEqual([405, 'E_METHOD']);
          const allow = String(headers.allow).split(', ');
          expect(allow, filled).toEqual(
            expect.arrayContaining(Object.keys(operations).map((name) => name.toUpperCase())),
          );
        }
      }
    }
  });

  // The fuzzer, as a node, reports another node as restored to an older state.
  afterEach(() => system.context.quarantine.clear());

  it('answers HEAD like GET without the body; OPTIONS lists the methods', async () => {
    const get = await system.ask('owner', { method: 'GET', path: '/v1/designs' });
    const head = await system.ask('owner', { method: 'HEAD', path: '/v1/designs' });
    expect([head.status, head.text, head.headers['content-length']]).toEqual([200, '', String(get.bytes.length)]);
    const options = await system.ask('owner', { method: 'OPTIONS', path: '/v1/vault/checks' });
    expect([options.status, options.headers.allow]).toEqual([204, 'OPTIONS, POST']);
    const polled = await system.ask('keys', { method: 'HEAD', path: '/v1/mailbox?wait=0&consumer=x' });
    expect([polled.status, polled.headers.allow]).toEqual([405, 'GET, OPTIONS']);
    const unknown = await system.ask('owner', { method: 'GET', path: '/v1/nothing' });
    expect([unknown.status, unknown.media]).toEqual([404, 'application/problem+json']);
  });
});

// Kinds of faults that scripts/api-fuzz.mjs has found.
describe('the OpenAPI document', () => {
  const every = nodes.flatMap((node) =>
    Object.entries(documents[node].paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, operation]) => ({ node, path, method, operation })),
    ),
  );

  it('states the limits of every number in a query or path, and they are those of the route', async () => {
    let tried = 0;
    for (const { node, path, method, operation } of every) {
      for (const { name, in: where, schema } of operation.parameters ?? []) {
        if (!['number', 'integer'].includes(String(schema.type))) continue;
        const what = `${method} ${path} ${name}`;
        expect(schema, what).toMatchObject({
          type: 'integer',
          minimum: expect.any(Number),
          maximum: expect.any(Number),
        });
        if (node !== 'control' || where !== 'query' || method !== 'get' || name === 'wait' || name === 'seconds')
          continue;
        const refused = async (value: number) => {
          const asked = path.replace(/\{(\w+)\}/g, '0'.repeat(32));
          const { status, text } = await system.ask('owner', { method: 'GET', path: `${asked}?${name}=${value}` });
          return status === 400 && (JSON.parse(text) as { data: { field?: string } }).data.field === name;
        };
        const [least, most] = [Number(schema.minimum), Number(schema.maximum)];
        expect([await refused(least), await refused(most)], what).toEqual([false, false]);
        expect([await refused(least - 1), await refused(2 * most)], what).toEqual([true, true]);
        tried++;
      }
    }
    expect(tried).toBeGreaterThan(10);
  });

  it('gives event streams no schema, because tools take one for the form of each event', () => {
    const streams = every.flatMap(({ operation }) => operation.responses['200']?.content?.['text/event-stream'] ?? []);
    expect(streams).toEqual([{}]);
  });

  it('refuses a malformed idempotency key of any caller, also of those whose answers are not kept', async () => {
    for (const who of ['guest', 'owner'] as const) {
      const asked = { method: 'PUT', path: `/v1/pairings/${'0'.repeat(32)}`, json: { offer: '' } };
      const { status, text } = await system.ask(who, { ...asked, headers: { 'idempotency-key': 'with space' } });
      expect([who, status, JSON.parse(text).code]).toEqual([who, 400, 'E_INPUT']);
    }
  });

  it('names nothing by a path of the ledger that is no tile: 404, as for every name that is not there', async () => {
    for (const path of ['x', '0/999', '00/000', '0'.repeat(300)]) {
      const { status, text } = await system.ask('owner', { method: 'GET', path: `/v1/ledger/tile/${path}` });
      expect([path, status, JSON.parse(text).code]).toEqual([path, 404, 'E_NOT_FOUND']);
    }
  });
});

describe('pages', () => {
  it('hold as many items as requested, and together each item once', async () => {
    const other = await apiFixture();
    for (let count = 0; count < 4; count++)
      await other.requestPrint(other.licence, other.machine).catch(() => undefined);
    const seen: string[] = [];
    let pages = 0;
    for (let cursor: string | undefined = ''; cursor !== undefined; pages++) {
      const query = cursor === '' ? '?limit=2' : `?limit=2&cursor=${encodeURIComponent(cursor)}`;
      const { text } = await other.ask('holder', { method: 'GET', path: `/v1/prints${query}` });
      const page = controlRoutes.prints.list.answer.schema.parse(JSON.parse(text));
      expect(page.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.items.map(({ print }) => print));
      cursor = page.next;
    }
    const { text } = await other.ask('holder', { method: 'GET', path: '/v1/prints' });
    const all = controlRoutes.prints.list.answer.schema.parse(JSON.parse(text)).items.map(({ print }) => print);
    expect(seen.length).toBeGreaterThan(2);
    expect(new Set(seen)).toEqual(new Set(all));
    expect(seen).toHaveLength(all.length);
    expect(pages).toBeGreaterThan(1);
    await other.close();
  });

  it.each(['limit=0', 'limit=201', 'limit=x', 'cursor=', 'colour=red'])('reject %s', async (query) => {
    const { status } = await system.ask('owner', { method: 'GET', path: `/v1/prints?${query}` });
    expect(status).toBe(400);
  });
});

describe('a write with an idempotency key', () => {
  const keyed = (key: string) => ({ headers: { 'idempotency-key': key } });
  const repair = (segments: number[], key: string, who: 'owner' | 'admin' = 'owner') =>
    system.ask(who, { method: 'POST', path: `/v1/designs/${system.design}/repair`, json: { segments }, ...keyed(key) });

  it('is executed once and gets the same answer; without the key it is executed again', async () => {
    const [first, second] = [await repair([0], 'one'), await repair([0], 'one')];
    expect([first.status, second.text]).toEqual([200, first.text]);
    expect((await repair([0], 'another')).text).not.toBe(first.text);
  });

  it('is executed once when it is sent several times concurrently', async () => {
    const answers = await Promise.all(Array.from({ length: 5 }, () => repair([1], 'together')));
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
  });

  it('is rejected when the key was used for another request', async () => {
    await repair([0], 'taken');
    const { status, text } = await repair([1], 'taken');
    expect([status, JSON.parse(text).code]).toEqual([422, 'E_IDEMPOTENCY']);
    for (const key of ['', 'with space', 'x'.repeat(256)]) expect((await repair([0], key)).status).toBe(400);
  });

  it('has a key per caller: another caller’s same key is unrelated', async () => {
    await repair([0], 'mine');
    expect((await repair([0], 'mine', 'admin')).status).toBe(403);
    expect((await repair([0], 'mine')).status).toBe(200);
  });

  it('repeats the answer to a transaction that would otherwise be a replay', async () => {
    const { keys, context, design } = system;
    const now = systemClock.now();
    const times = { id: systemRandom(16), issued: now, expires: now + 600_000 };
    const body: Transaction = { ...times, type: 'design.maintenance', design, mode: 'delta' };
    const transaction = toBase64(await signTransaction(keys.owner, context.directory.installation, body));
    const submit = (key: string) =>
      system.ask('owner', { method: 'POST', path: '/v1/transactions', json: { transaction }, ...keyed(key) });
    const [first, again, other] = [await submit('t'), await submit('t'), await submit('u')];
    expect([first.status, again.text]).toEqual([200, first.text]);
    expect(JSON.parse(other.text).code).toBe('E_REPLAY');
    // A permanent rejection is stored like any other answer.
    expect((await submit('u')).text).toBe(other.text);
  });

  it('is forgotten after a day, and when its caller has made a thousand newer ones', async () => {
    let now = 1_000;
    const store = answersInMemory();
    const clock = { ...systemClock, now: () => now };
    const answers = await IdempotentAnswers.open(store, clock);
    let done = 0;
    const write = async (key: string, caller = 'me') => {
      const body = new Uint8Array([++done]);
      await answers.once({ caller, key, parts: ['same'] }, async () => ({ status: 200, type: 'x', body }));
      return done;
    };
    const kept = async () => {
      let count = 0;
      for await (const _ of store.list()) count++;
      return count;
    };
    await write('a');
    now += 23 * 3_600_000;
    const reopened = await IdempotentAnswers.open(store, clock);
    await reopened.once({ caller: 'me', key: 'a', parts: ['same'] }, () => Promise.reject(new Error('done again')));
    now += 2 * 3_600_000;
    await reopened.forget();
    expect(await kept()).toBe(0);

    for (let number = 0; number < 1_005; number++) await write(String(number));
    await write('0', 'you');
    expect(await kept()).toBe(1_001);
  });
});
