import type { Measured, Scenario, SessionNode } from './inputs.ts';

/** What one kind of node needs, all nodes of the kind together. */
export interface Need {
  /** Whole cores, busy. */
  readonly cores: number;
  /** Bytes. */
  readonly memory: number;
  /** Bytes kept on disks, copies included. */
  readonly stored: number;
  /** Bytes written to disks a second. */
  readonly written: number;
  /** Whether several nodes of the kind can share this work today. */
  readonly shared: boolean;
}

export interface Plan {
  readonly permitsPerSecond: number;
  readonly appendsPerSecond: number;
  /** Bytes of cells renewed a second. */
  readonly renewedPerSecond: number;
  readonly needs: Readonly<Record<SessionNode | 'ledger' | 'cassandra', Need>>;
  /** Cost of a month, in the scenario's currency. */
  readonly cost: number;
}

/** A limit that no further node of its kind moves, and the share of it that the scenario uses: above 1, it breaks. */
export interface Limit {
  readonly name: string;
  readonly used: number;
  /** The scenario's number that this limit bounds, at its largest. */
  readonly most: string;
}

const GiB = 2 ** 30;

/** Cores, memory and disks for a scenario: sums of measured costs. */
export function plan(measured: Measured, scenario: Scenario): Plan {
  const { machines, printing, rate, object, entries, cells, cell, period, given, prices } = scenario;
  const streams = machines * printing;
  const permitsPerSecond = (streams / object) * scenario.peak;
  const appendsPerSecond = permitsPerSecond * entries;
  const renewedPerSecond = cells / period;
  // Processor time of a session grows with the data; at the measured rate it is what the bench has measured.
  const sessions = (role: SessionNode) => ({
    cores: streams * measured.session[role].cores * (rate / measured.sessionRate),
    memory: streams * measured.session[role].memory,
    stored: 0,
    written: 0,
    shared: true,
  });
  const count = cells / cell;
  const sweepCores = renewedPerSecond / given.renewedInCassandra;
  const needs = {
    control: { ...sessions('control'), cores: sessions('control').cores + permitsPerSecond * measured.permit },
    distribution: sessions('distribution'),
    segments: { ...sessions('segments'), memory: sessions('segments').memory + count * given.segmentsMemory },
    keys: { ...sessions('keys'), memory: sessions('keys').memory + count * given.keysMemory, shared: false },
    ledger: {
      cores: appendsPerSecond * measured.append,
      memory: 0,
      // A year of entries.
      stored: (appendsPerSecond / scenario.peak) * 31_557_600 * measured.entry * given.copies,
      written: appendsPerSecond * measured.entry * given.copies,
      shared: false,
    },
    // An epoch is written before the former one is dropped.
    cassandra: {
      cores: sweepCores,
      memory: 0,
      stored: 2 * cells * given.copies,
      written: renewedPerSecond * given.copies,
      shared: true,
    },
  };
  const all = Object.values(needs);
  const sum = (of: (need: Need) => number) => all.reduce((total, need) => total + of(need), 0);
  const cost =
    (sum(({ cores }) => cores) / given.headroom) * prices.core +
    (sum(({ memory }) => memory) / GiB / given.headroom) * prices.memoryGiB +
    (sum(({ stored }) => stored) / 1e12 / given.headroom) * prices.diskTB;
  return { permitsPerSecond, appendsPerSecond, renewedPerSecond, needs, cost };
}

/** What is done by one process of its kind, however many there are: the first to break comes first. */
export function limits(measured: Measured, scenario: Scenario, host: { cores: number; memory: number }): Limit[] {
  const { appendsPerSecond, permitsPerSecond, renewedPerSecond, needs } = plan(measured, scenario);
  const { headroom } = scenario.given;
  const machines = (used: number) => `${Math.floor(scenario.machines / used).toLocaleString('en')} machines`;
  const cells = (used: number) => `${(scenario.cells / used / 1e12).toPrecision(3)} TB of cells`;
  const writer = (appendsPerSecond * measured.append) / headroom;
  const memory = needs.keys.memory / (host.memory * headroom);
  const streams = needs.keys.cores / (host.cores * headroom);
  const permits = (permitsPerSecond * measured.permit) / headroom;
  const planning = renewedPerSecond / (planned(measured, scenario) * headroom);
  return [
    { name: 'keys: planning of sweeps, one core', used: planning, most: cells(planning) },
    { name: 'ledger: one writer, one core', used: writer, most: machines(writer) },
    { name: 'permits: one active control process, one core', used: permits, most: machines(permits) },
    { name: 'keys: memory of one host', used: memory, most: cells(memory) },
    { name: 'keys: streams on the cores of one host', used: streams, most: machines(streams) },
  ].sort((a, b) => b.used - a.used);
}

/** Cells whose next places one core of the keys node chooses in a second, bytes. */
export function planned({ renewed }: Measured, { given }: Scenario): number {
  return renewed / given.keysShare;
}

/** The shortest period in which these cores renew the cells of the scenario, s. */
export function shortestPeriod({ cells, given }: Scenario, cores: number): number {
  return cells / (cores * given.headroom * given.renewedInCassandra);
}
