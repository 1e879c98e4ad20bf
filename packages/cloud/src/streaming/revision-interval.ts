import type { StreamParameters } from '@millrace/protocol';

/** Shortest revision for each order, ms. */
const MIN_MS = { 16: 1_000, 24: 5_000 } as const;
/** Longest revision that a slow machine can request, ms. Hints must not stay valid for longer. */
const MAX_MS = 120_000;

/**
 * Minimum duration of a revision, ms: twice the time that the machine needs for a table, within bounds, so that the
 * machine spends at most half of its time on tables. The keys node sets it at the start of a session. The segments node
 * adapts it to the machine's reports.
 *
 * @param tableMs time for a table, as measured by the machine, ms
 */
export function revisionMsFor(order: StreamParameters['order'], tableMs: number): number {
  return Math.min(MAX_MS, Math.max(MIN_MS[order], Math.round(2 * tableMs)));
}
