import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type AccountHead, nextState } from '../src/accounts.ts';
import { type EventType, eventTypes } from '../src/index.ts';

const root = new URL('../../../', import.meta.url);
const spec = readFileSync(new URL('spec/ledger.md', root), 'utf8');

test('every section refers to existing sources, tests and vectors', () => {
  const paths = [...spec.matchAll(/`((?:src|test|interop|vectors\/ledger)\/[a-z-]*(?:\.[a-z.]+)?)`/g)].map(
    ([, path = '']) => path,
  );
  expect(paths.length).toBeGreaterThan(25);
  for (const path of paths) {
    expect(existsSync(new URL(path.startsWith('vectors/') ? path : `packages/ledger/${path}`, root)), path).toBe(true);
  }
  for (const section of spec.split('\n## ').slice(2)) expect(section).toMatch(/`test\/[a-z]+\.test\.ts`/);
});

test('the table of object states matches the implementation', () => {
  const rows = new Map<string, Map<string, string>>();
  const table = spec.slice(spec.indexOf('| state of an object'), spec.indexOf('**LE-6.1**'));
  let state = '';
  for (const [, named = '', cell = ''] of table.matchAll(/^\| (?:([a-z ]+) )?\| (.*) \|$/gm)) {
    state = named === '' ? state : named; // a row without a state continues the previous one
    const row = rows.get(state) ?? new Map<string, string>();
    for (const [, type = '', next] of cell.matchAll(/`([a-z]+)`(?: → ([a-z]+))?/g)) row.set(type, next ?? state);
    rows.set(state, row);
  }
  const anywhere = rows.get('each of these') ?? new Map<string, string>();
  const states = [...rows.keys()].filter((state) => state !== 'each of these' && state !== 'state of an object');
  expect(states).toHaveLength(9);
  for (const state of states) {
    for (const type of eventTypes) {
      const everywhere = state === 'retired' ? undefined : anywhere.get(type);
      const expected = rows.get(state)?.get(type) ?? (everywhere === 'each of these' ? state : everywhere);
      expect(stateAfter(state, type), `${type} in ${state}`).toBe(expected);
    }
  }
});

function stateAfter(state: string, type: EventType): string | undefined {
  const head: AccountHead = { account: 'a', kind: 'object', state, sequence: 0, index: 0, hash: new Uint8Array(32) };
  try {
    return nextState(head, 'a', type).state;
  } catch {
    return undefined;
  }
}
