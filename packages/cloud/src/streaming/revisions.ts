import type { StreamParameters } from '@millrace/protocol';

/** Least length of a revision at each order, ms. */
const LEAST_MS = { 16: 1_000, 24: 5_000 } as const;
/** And the most that a slow machine can ask for: hints of a revision that lasts longer live too long. */
const MOST_MS = 120_000;

/**
 * Least time that a revision lasts, ms: twice what the machine needs for a table, so that it spends at most half of its time on
 * them, within bounds. The keys node begins a session with it, and the segments node follows what the machine says while it runs.
 *
 * @param tableMs as the machine measured it
 */
export function revisionMsFor(order: StreamParameters['order'], tableMs: number): number {
  return Math.min(MOST_MS, Math.max(LEAST_MS[order], Math.round(2 * tableMs)));
}
