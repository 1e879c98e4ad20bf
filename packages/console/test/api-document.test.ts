import { controlRoutes, openApiOf, routesOf } from '@millrace/api';
import { describe, expect, it } from 'vitest';
import { fieldsOf, quoted, routesOfDocument, typeOf } from '../src/web/api-document.ts';

describe('the documentation of the API', () => {
  const document = JSON.parse(JSON.stringify(openApiOf(controlRoutes, 'control')));
  const routes = routesOfDocument(document);
  const byName = new Map(routes.map((route) => [route.name, route]));

  it('has every declared route with its callers, errors and an example', () => {
    const declared = routesOf(controlRoutes);
    expect([...byName.keys()].sort()).toEqual(declared.map(([name]) => name).sort());
    for (const [name, { method, path, callers, errors, params, query }] of declared) {
      const shown = byName.get(name);
      expect(shown, name).toMatchObject({ method, path: path.replace('*}', '}'), callers });
      expect(shown?.parameters.map((field) => field.name)).toEqual(
        expect.arrayContaining([...Object.keys(params.shape), ...Object.keys(query.shape)]),
      );
      expect(shown?.errors.map(({ code }) => code)).toEqual(expect.arrayContaining([...errors]));
      expect(shown?.example.startsWith('curl '), name).toBe(true);
      expect(shown?.example.match(/(?<!\\)'/g)?.length ?? 0, name).toBeGreaterThan(1);
    }
  });

  it('says which scopes a token needs', () => {
    expect(byName.get('prints.list')?.scopes).toEqual(['prints:read']);
    expect(byName.get('openapi.get')?.scopes).toBe('any');
    expect(byName.get('transactions.submit')?.scopes).toBe('none');
    expect(byName.get('machineCalls.next')?.scopes).toBe('none');
  });

  it('names fields inside others, with types and limits', () => {
    const fields = byName.get('tokens.list')?.answer?.fields.map(({ name }) => name);
    expect(fields).toEqual(expect.arrayContaining(['items', 'items[].token', 'items[].revoked.at', 'next']));
    expect(typeOf({ anyOf: [{ const: 1 }, { enum: ['a', 'b'] }, { type: 'array', items: { type: 'string' } }] })).toBe(
      '1 | "a" | "b" | string[]',
    );
    expect(typeOf({ type: 'integer', minimum: 0, maximum: Number.MAX_SAFE_INTEGER })).toBe('integer, ≥ 0');
    expect(fieldsOf({ type: 'object', properties: { a: { type: 'string' } }, required: ['a'] })).toEqual([
      { name: 'a', type: 'string', required: true, description: undefined },
    ]);
  });

  it('has examples that a shell reads as one command', () => {
    expect(quoted("it's")).toBe(`'it'\\''s'`);
    expect(byName.get('prints.list')?.example).toBe(
      [
        'curl --cacert authority.pem --connect-to guest.millrace.invalid:7601:CONTROL-HOST:7601',
        '-H "Authorization: Bearer $MILLRACE_TOKEN"',
        "'https://guest.millrace.invalid:7601/v1/prints'",
      ].join(' \\\n  '),
    );
    expect(byName.get('transactions.submit')?.example).toContain(`-d '{"transaction":"…"}'`);
  });
});
