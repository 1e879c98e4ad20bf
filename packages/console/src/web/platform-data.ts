// What the page for the administrator shows, read from the metrics of all nodes in the Prometheus text format.

export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LINE = /^(\w+)\{(.*)\} (-?[\d.e+-]+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export function parseMetrics(text: string): Series[] {
  return text.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = LINE.exec(line) ?? [];
    if (name === undefined) return [];
    const pairs = [...labels.matchAll(LABEL)].map(([, key = '', raw = '']) => [key, unescaped(raw)] as const);
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }];
  });
}

const unescaped = (text: string) => text.replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one));

/** Values of one time. */
export class Metrics {
  readonly #series: readonly Series[];

  constructor(series: readonly Series[]) {
    this.#series = series;
  }

  all(name: string): Series[] {
    return this.#series.filter((series) => series.name === name);
  }

  /** The value of a node's only series of this name. */
  of(node: string, name: string): number | undefined {
    return this.all(name).find(({ labels }) => labels.node === node)?.value;
  }

  /** The sum over all nodes; undefined if no node reports it. */
  sum(name: string): number | undefined {
    const found = this.all(name);
    return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0);
  }
}

export interface NodeState {
  readonly id: string;
  readonly role: string;
  /** Time since its last call, ms; undefined if it has not called since control started. 0 for control. */
  readonly silentMs: number | undefined;
  readonly directory: number | undefined;
  /** ms since 1970. */
  readonly certificateUntil: number | undefined;
  readonly memory: number | undefined;
  readonly diskFree: number | undefined;
  /** Seconds. */
  readonly delay: number | undefined;
  readonly quarantined: boolean;
}

/** Control, and each node that the directory names. */
export function nodesOf(metrics: Metrics, now: number): NodeState[] {
  const state = (id: string, role: string, silentMs: number | undefined): NodeState => {
    const until = metrics.of(id, 'millrace_certificate_expires_seconds');
    return {
      ...{ id, role, silentMs },
      directory: metrics.of(id, 'millrace_directory_sequence'),
      certificateUntil: until === undefined ? undefined : until * 1_000,
      memory: metrics.of(id, 'process_resident_memory_bytes'),
      diskFree: metrics.of(id, 'millrace_disk_free_bytes'),
      delay: metrics.of(id, 'millrace_event_loop_delay_seconds'),
      quarantined: metrics.all('millrace_node_quarantined').some(({ labels }) => labels.peer === id),
    };
  };
  const control = metrics
    .all('millrace_ledger_entries')
    .filter(({ labels }) => labels.role === 'control')
    .map(({ labels }) => state(labels.node ?? '', 'control', 0));
  const others = metrics
    .all('millrace_node_seen_seconds')
    .map(({ labels, value }) =>
      state(labels.peer ?? '', labels.peer_role ?? '', value === 0 ? undefined : Math.max(0, now - value * 1_000)),
    );
  return [...control, ...others];
}

export type Alarm =
  | { readonly what: 'silent' | 'quarantined' | 'oldDirectory' | 'certificate' | 'disk'; readonly node: string }
  | { readonly what: 'sweepLate' | 'cellsLost' | 'vaultProblems' | 'recordsDamaged' };

const SILENT_MS = 60_000;
const EXPIRES_MS = 30 * 86_400_000;
const DISK_BYTES = 5e9;

/** What needs somebody: the conditions of docs/monitoring.md. */
export function alarmsOf(metrics: Metrics, nodes: readonly NodeState[], now: number): Alarm[] {
  const newest = Math.max(0, ...nodes.map(({ directory = 0 }) => directory));
  const ofNodes = nodes.flatMap(({ id, silentMs, quarantined, directory, certificateUntil, diskFree }): Alarm[] => [
    ...(silentMs === undefined || silentMs > SILENT_MS ? [{ what: 'silent' as const, node: id }] : []),
    ...(quarantined ? [{ what: 'quarantined' as const, node: id }] : []),
    ...(directory !== undefined && directory < newest ? [{ what: 'oldDirectory' as const, node: id }] : []),
    ...(certificateUntil !== undefined && certificateUntil < now + EXPIRES_MS
      ? [{ what: 'certificate' as const, node: id }]
      : []),
    ...(diskFree !== undefined && diskFree < DISK_BYTES ? [{ what: 'disk' as const, node: id }] : []),
  ]);
  const above = (name: string, least: number) => (metrics.sum(name) ?? 0) > least;
  const period = metrics.sum('millrace_sweep_period_seconds') ?? Number.POSITIVE_INFINITY;
  return [
    ...ofNodes,
    ...(above('millrace_sweep_reached_seconds', 2 * period) ? [{ what: 'sweepLate' as const }] : []),
    ...(above('millrace_cells_lost', 0) ? [{ what: 'cellsLost' as const }] : []),
    ...(above('millrace_vault_problems', 0) ? [{ what: 'vaultProblems' as const }] : []),
    ...(above('millrace_records_damaged', 0) ? [{ what: 'recordsDamaged' as const }] : []),
  ];
}

/** Growth of a counter per second between two readings; undefined if a node was restarted or there is one reading only. */
export function rateOf(name: string, before: Reading | undefined, after: Reading): number | undefined {
  if (before === undefined || after.at <= before.at) return undefined;
  const grown = (after.metrics.sum(name) ?? 0) - (before.metrics.sum(name) ?? 0);
  return grown < 0 ? undefined : grown / ((after.at - before.at) / 1_000);
}

export interface Reading {
  readonly metrics: Metrics;
  /** ms since 1970. */
  readonly at: number;
}
