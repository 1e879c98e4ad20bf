import { describe, expect, it } from 'vitest';
import { alarmsOf, Metrics, nodesOf, parseMetrics, rateOf } from '../src/web/platform-data.ts';

const now = 2_000_000_000_000;
const DAY = 86_400;
const text = (changes: readonly string[] = []) =>
  [
    '# HELP millrace_ledger_entries entries',
    '# TYPE millrace_ledger_entries gauge',
    'millrace_ledger_entries{node="control-1",role="control"} 8',
    `millrace_node_seen_seconds{peer="keys-1",peer_role="keys",node="control-1",role="control"} ${now / 1_000 - 3}`,
    'millrace_directory_sequence{node="control-1",role="control"} 4',
    'millrace_directory_sequence{node="keys-1",role="keys"} 4',
    `millrace_certificate_expires_seconds{node="keys-1",role="keys"} ${now / 1_000 + 90 * DAY}`,
    'millrace_sweep_period_seconds{node="control-1",role="control"} 100',
    ...changes,
  ].join('\n');
const alarms = (...changes: string[]) => {
  const metrics = new Metrics(parseMetrics(text(changes)));
  return alarmsOf(metrics, nodesOf(metrics, now), now);
};

describe('the state of the platform', () => {
  it('is read from the metrics, with hostile labels as they are', () => {
    expect(parseMetrics('a{x="1",y="q\\"\\\\\\n}"} -1.5e3\n# comment\nnothing\nb{} 2')).toEqual([
      { name: 'a', labels: { x: '1', y: 'q"\\\n}' }, value: -1500 },
      { name: 'b', labels: {}, value: 2 },
    ]);
    const [control, keys] = nodesOf(new Metrics(parseMetrics(text())), now);
    expect(control).toMatchObject({ id: 'control-1', silentMs: 0, directory: 4, memory: undefined });
    expect(keys).toMatchObject({ id: 'keys-1', role: 'keys', silentMs: 3_000, quarantined: false });
    expect(alarms()).toEqual([]);
  });

  it.each([
    ['silent', 'segments-1', 'millrace_node_seen_seconds{peer="segments-1",peer_role="segments"} 0'],
    ['silent', 'old-1', `millrace_node_seen_seconds{peer="old-1",peer_role="keys"} ${now / 1_000 - 61}`],
    ['quarantined', 'keys-1', 'millrace_node_quarantined{peer="keys-1"} 1'],
    ['disk', 'keys-1', 'millrace_disk_free_bytes{node="keys-1"} 4000000000'],
  ])('alarms: %s %s', (what, node, line) => {
    expect(alarms(line)).toEqual([{ what, node }]);
  });

  it('alarms: an older directory, a certificate, the vault', () => {
    expect(alarms('millrace_directory_sequence{node="control-1",role="x"} 4').length).toBe(0);
    expect(
      alarms(
        'millrace_node_seen_seconds{peer="d-1",peer_role="distribution"} 1999999999',
        'millrace_directory_sequence{node="d-1"} 3',
      ),
    ).toEqual([{ what: 'oldDirectory', node: 'd-1' }]);
    expect(alarms(`millrace_certificate_expires_seconds{node="control-1"} ${now / 1_000 + 29 * DAY}`)).toEqual([
      { what: 'certificate', node: 'control-1' },
    ]);
    expect(alarms('millrace_sweep_reached_seconds{node="control-1"} 201')).toEqual([{ what: 'sweepLate' }]);
    for (const [name, what] of [
      ['millrace_cells_lost', 'cellsLost'],
      ['millrace_vault_problems', 'vaultProblems'],
      ['millrace_records_damaged', 'recordsDamaged'],
    ])
      expect(alarms(`${name}{node="x"} 1`)).toEqual([{ what }]);
  });

  it('has rates of counters, but not over a restart', () => {
    const reading = (value: number, at: number) => ({ metrics: new Metrics(parseMetrics(`c{node="a"} ${value}`)), at });
    expect(rateOf('c', reading(10, 0), reading(30, 10_000))).toBe(2);
    expect(rateOf('c', reading(10, 0), reading(3, 10_000))).toBeUndefined();
    expect(rateOf('c', undefined, reading(3, 10_000))).toBeUndefined();
  });
});
