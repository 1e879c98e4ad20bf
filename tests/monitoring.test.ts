import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

// The Grafana board, the alerts and the table of metrics in docs/monitoring.md, against the instruments in the sources.

const root = new URL('..', import.meta.url).pathname;
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const page = read('docs/monitoring.md');
const alerts = [...page.matchAll(/```yaml\n([\s\S]*?)```/g)]
  .map(([, text = '']) => text)
  .filter((text) => /alert:/.test(text));
const runbooks = readdirSync(join(root, 'docs/runbooks'))
  .map((name) => read(`docs/runbooks/${name}`))
  .join('\n');

interface Board {
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly gridPos: { readonly x: number; readonly y: number };
    readonly targets: readonly { readonly refId: string; readonly expr: string }[];
  }[];
}
const board = JSON.parse(read('docs/monitoring/grafana.json')) as Board;

/** Names of metrics in the sources, with their kinds. */
function instruments(): Map<string, string> {
  const kinds = new Map<string, string>();
  for (const name of readdirSync(join(root, 'packages'))) {
    const source = join('packages', name, 'src');
    for (const file of readdirSync(join(root, source), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      for (const [, kind = '', metric = ''] of read(join(source, file)).matchAll(
        /\b(counter|gauge|histogram)\(\s*'((?:millrace|process)_\w+)'/g,
      ))
        kinds.set(metric, kind);
    }
  }
  return kinds;
}

const known = instruments();
const namesIn = (text: string) => [...new Set(text.match(/\b(?:millrace|process)_[a-z0-9_]+/g))];

/** Names that no instrument has; histograms are queried by their sum and count. */
function unknownIn(expression: string): string[] {
  return namesIn(expression).filter((name) => {
    const [, family = ''] = /^(\w+)_(?:sum|count)$/.exec(name) ?? [];
    return known.get(family) !== 'histogram' && !['counter', 'gauge'].includes(known.get(name) ?? '');
  });
}

describe('metrics', () => {
  it('are found in the sources, and a name that is not there is noticed', () => {
    expect(known.get('millrace_permits_total')).toBe('counter');
    expect(known.get('millrace_cassandra_seconds')).toBe('histogram');
    expect(unknownIn('rate(millrace_permit_total[5m]) + millrace_cassandra_seconds')).toHaveLength(2);
  });

  it('of the board and of the alerts exist', () => {
    const expressions = board.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
    expect(expressions.length).toBeGreaterThan(20);
    expect([...expressions, ...alerts].flatMap(unknownIn)).toEqual([]);
  });

  it('are all in the table, and the table has no others', () => {
    const table = page
      .split('\n')
      .filter((line) => line.startsWith('| `'))
      .flatMap(namesIn);
    expect([...new Set(table)].sort()).toEqual([...known.keys()].sort());
  });

  it('have names of their kinds', () => {
    for (const [name, kind] of known) expect(name.endsWith('_total'), name).toBe(kind === 'counter');
  });
});

describe('the board', () => {
  it('has panels of distinct ids and places, each with queries', () => {
    const { panels } = board;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(new Set(panels.map(({ gridPos }) => `${gridPos.x}/${gridPos.y}`)).size).toBe(panels.length);
    for (const { title, targets } of panels) {
      expect(targets.length, title).toBeGreaterThan(0);
      expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(targets.length);
    }
  });
});

describe('alerts', () => {
  it('are in a runbook, and runbooks name no others', () => {
    const named = alerts.flatMap((text) => [...text.matchAll(/alert: (\w+)/g)].map(([, name = '']) => name));
    expect(new Set(named).size).toBe(named.length);
    const inRunbooks = new Set([...runbooks.matchAll(/`(Millrace[A-Z]\w+)`/g)].map(([, name = '']) => name));
    expect([...inRunbooks].sort()).toEqual([...named].sort());
  });
});
