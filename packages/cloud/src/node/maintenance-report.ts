import { z } from 'zod';

const count = z.int().nonnegative();

/** What the keys node tells control during and after every sweep, for `millrace status`. */
export const maintenanceReport = z.strictObject({
  epoch: count,
  cells: count,
  decoys: count,
  designs: count,
  /** How often every cell is to be renewed, and how often it is with what the last sweep (or this one, so far) took. */
  periodMs: count,
  reachedPeriodMs: count,
  /** The last sweep, or this one so far. */
  lastSweepMs: count,
  /** Of the sweep under way; 1 when none is. */
  progress: z.number().min(0).max(1),
  /** Why the period is not held: a budget's name, or `speed`; `no` when it is held. */
  heldBackBy: z.enum(['bytesPerSecond', 'coreShare', 'moneyPerMonth', 'speed', 'no']),
  /** What a month of it costs, in the currency of the prices. */
  moneyPerMonth: z.number().nonnegative(),
  problems: count,
});
export type MaintenanceReport = z.output<typeof maintenanceReport>;
