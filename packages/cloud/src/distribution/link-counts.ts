import type { Metrics } from '@millrace/base';

/** Counts the links of a distribution node, by the role of the other side. */
export interface LinkCounts {
  opened(role: string): void;
  closed(role: string): void;
  refused(): void;
}

export function countLinks(metrics: Metrics): LinkCounts {
  const total = metrics.counter('millrace_links_total', 'links that were accepted or refused, by role of the caller');
  const open = metrics.gauge('millrace_links_open', 'links that are open, by role of the other side');
  const counts = new Map<string, number>();
  const change = (role: string, by: number) => {
    const count = (counts.get(role) ?? 0) + by;
    counts.set(role, count);
    open.set(count, { peer_role: role });
  };
  // A link that never opened is 0, not unknown.
  for (const role of ['segments', 'keys', 'machine']) change(role, 0);
  return {
    opened: (role) => {
      total.add(1, { peer_role: role, outcome: 'accepted' });
      change(role, 1);
    },
    closed: (role) => change(role, -1),
    refused: () => total.add(1, { peer_role: 'unknown', outcome: 'refused' }),
  };
}
