import type { Labels, Sample } from '@millrace/base';
import type { ControlContext } from './context.ts';
import { ONLINE_MS } from './limits.ts';
import { ledgerHead } from './node-states.ts';

/** Metrics of all nodes in the Prometheus text format 0.0.4. Every series has the labels `node` and `role`. */
export function metricsText(context: ControlContext): string {
  const { clock, nodeMetrics, id } = context;
  const now = clock.now();
  const families = new Map<
    string,
    { readonly kind: Sample['kind']; readonly help: string; readonly lines: string[] }
  >();
  const add = (samples: readonly Sample[], from: Labels) => {
    for (const { name, kind, help, labels, value, count } of samples) {
      const family = families.get(name) ?? { kind, help, lines: [] };
      families.set(name, family);
      // A name has one kind, whatever another node sends.
      if (family.kind !== kind) continue;
      const text = labelsText({ ...labels, ...from });
      if (kind === 'histogram') family.lines.push(`${name}_sum${text} ${value}`, `${name}_count${text} ${count}`);
      else family.lines.push(`${name}${text} ${value}`);
    }
  };
  add([...nodeMetrics.own(), ...stateOf(context, now)], { node: id, role: 'control' });
  for (const [node, { role, samples }] of nodeMetrics.current(now)) add(samples, { node, role });
  return [...families]
    .map(([name, { kind, help, lines }]) =>
      [
        `# HELP ${name} ${escapeText(help)}`,
        `# TYPE ${name} ${kind === 'histogram' ? 'summary' : kind}`,
        ...lines,
        '',
      ].join('\n'),
    )
    .join('');
}

/** What control knows at this moment. */
function stateOf(context: ControlContext, now: number): Sample[] {
  const { seen, quarantine, machinesSeen, progress, maintenance, directory } = context;
  const gauge = (name: string, help: string, value: number, labels: Labels = {}): Sample => ({
    ...{ name, kind: 'gauge', help, labels, value, count: 1 },
  });
  const { size } = ledgerHead(context);
  const online = [...machinesSeen.values()].filter((at) => now - at < ONLINE_MS).length;
  const kept = maintenance.current;
  return [
    gauge('millrace_ledger_entries', 'entries of the ledger', size),
    gauge('millrace_machines_online', 'machines whose agent has polled recently', online),
    gauge('millrace_prints_running', 'prints that report progress', progress.size),
    ...(kept === undefined
      ? []
      : [
          gauge('millrace_sweep_progress', 'progress of the present sweep; 1 if none runs', kept.progress),
          gauge('millrace_sweep_period_seconds', 'period in which every cell is to be renewed', kept.periodMs / 1_000),
          gauge('millrace_sweep_reached_seconds', 'period that the last sweep reached', kept.reachedPeriodMs / 1_000),
        ]),
    ...directory.nodes
      .filter(({ role }) => role !== 'control')
      .map(({ id: peer, role }) =>
        gauge(
          'millrace_node_seen_seconds',
          'last call of a node, seconds since 1970; 0 if it has not called since control started',
          (seen.get(peer)?.at ?? 0) / 1_000,
          { peer, peer_role: role },
        ),
      ),
    ...[...quarantine].map(([peer, { role }]) =>
      gauge('millrace_node_quarantined', 'nodes that were restored to an older state', 1, { peer, peer_role: role }),
    ),
  ];
}

function labelsText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeText(value).replaceAll('"', '\\"')}"`);
  return `{${pairs.join(',')}}`;
}

function escapeText(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
