import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MillraceError } from '@millrace/base';
import type { SavedReport } from '../bench.ts';

// What the model of scale computes with: figures that benches have measured, and a scenario.

/** Nodes whose cost of a session `bench fleet` measures. */
export const sessionNodes = ['control', 'segments', 'keys', 'distribution'] as const;
export type SessionNode = (typeof sessionNodes)[number];

/** Figures of saved reports. Processor time is that of one core of the machine that ran the benches. */
export interface Measured {
  /** Content that a machine of the fleet took, bytes/s. The costs of a session are at this rate. */
  readonly sessionRate: number;
  /** Of a machine that prints: processor time, seconds of a core per second; and memory, bytes. */
  readonly session: Readonly<Record<SessionNode, { readonly cores: number; readonly memory: number }>>;
  /** Cells renewed by one second of a core of both proactive nodes together, bytes. */
  readonly renewed: number;
  /** Sequential durable writes of the disk, bytes/s. */
  readonly disk: number;
  /** Processor time of a permit in control and of an append to the ledger, s. */
  readonly permit: number;
  readonly append: number;
  /** One durable commit of the ledger that waits for nothing else, s. */
  readonly commit: number;
  /** File of the ledger for one entry, bytes. */
  readonly entry: number;
}

/** A load to plan for. The figures that no bench measures have their source beside them. */
export interface Scenario {
  readonly machines: number;
  /** Share of the machines that print at one time. */
  readonly printing: number;
  /** Content that a printing machine takes, bytes/s. */
  readonly rate: number;
  /** Mean time for an object, s. */
  readonly object: number;
  /** Entries of the ledger for an object. */
  readonly entries: number;
  /** Permits in the busiest hour : permits in a mean hour. */
  readonly peak: number;
  /** Cells stored, bytes, decoys included. */
  readonly cells: number;
  /** Bytes of a cell. */
  readonly cell: number;
  /** Period of a sweep, s. */
  readonly period: number;
  readonly given: {
    /** Memory for a cell, bytes (docs/performance/vault.md). */
    readonly keysMemory: number;
    readonly segmentsMemory: number;
    /** Share of the processor time of a sweep that the keys node spends (docs/performance/vault.md). */
    readonly keysShare: number;
    /** Cells renewed by one second of a core with the cells in Cassandra, its own cores included, bytes. */
    readonly renewedInCassandra: number;
    /** Copies of a row in Cassandra. */
    readonly copies: number;
    /** Share of a core, of a disk and of a machine's memory that is planned for. */
    readonly headroom: number;
    readonly sources: string;
  };
  /** Prices for a month, in any currency. */
  readonly prices: {
    readonly currency: string;
    readonly core: number;
    readonly memoryGiB: number;
    readonly diskTB: number;
    readonly source: string;
  };
}

/** Loads the reports of `fleet`, `vault` and `ledger`. @throws {MillraceError} E_INPUT naming what is missing */
export async function readMeasured(folder: string): Promise<{ measured: Measured; reports: readonly SavedReport[] }> {
  const [fleet, vault, ledger] = await Promise.all(
    ['fleet', 'vault', 'ledger'].map((name) => readJson<SavedReport>(join(folder, `${name}.json`))),
  );
  if (!fleet || !vault || !ledger) throw new MillraceError('E_INPUT', `${folder} lacks a report`);
  return { measured: measuredFrom(fleet, vault, ledger), reports: [fleet, vault, ledger] };
}

export function readScenario(path: string): Promise<Scenario> {
  return readJson<Scenario>(path);
}

/** @throws {MillraceError} E_INPUT naming the row that a report lacks */
export function measuredFrom(fleet: SavedReport, vault: SavedReport, ledger: SavedReport): Measured {
  const machines = Math.max(
    0,
    ...fleet.rows.map(({ name }) => Number(/^([\d,]+) machines: frames$/.exec(name)?.[1]?.replaceAll(',', '') ?? 0)),
  );
  const step = `${machines.toLocaleString('en')} machines`;
  const session = Object.fromEntries(
    sessionNodes.map((role) => [
      role,
      {
        cores: rowIn(fleet, `${step}: ${role} node, processor time`) / machines,
        memory: Math.max(0, rowIn(fleet, `${step}: ${role} node, memory for a session`)) * 1e3,
      },
    ]),
  ) as unknown as Measured['session'];
  const sweeps = vault.rows.filter(({ name }) => /^[\d.]+ [GM]B rekey: sweep, by core-second/.test(name));
  const renewed = sweeps.at(-1);
  if (renewed === undefined) throw missing(vault, 'N GB rekey: sweep, by core-second');
  const label = renewed.name.split(':')[0];
  const many = ledger.rows.find(({ name }) => /^ledger, \d+ in flight: processor time/.test(name));
  const permit = ledger.rows.find(({ name }) => /^permits, \d+ in flight: processor time/.test(name));
  if (many === undefined) throw missing(ledger, 'ledger, N in flight: processor time an append');
  if (permit === undefined) throw missing(ledger, 'permits, N in flight: processor time a permit');
  return {
    sessionRate: rowIn(fleet, 'consumed by a machine, target'),
    session,
    renewed: renewed.median * 1e6,
    disk: rowIn(vault, `${label}: sequential write rate of the disk`) * 1e6,
    permit: permit.median / 1e6,
    append: many.median / 1e6,
    commit: 1 / rowIn(ledger, 'plain LMDB, one put a commit'),
    entry: rowIn(ledger, 'file of the store, an entry'),
  };
}

function rowIn(report: SavedReport, name: string): number {
  const row = report.rows.find((each) => each.name === name);
  if (row === undefined) throw missing(report, name);
  return row.median;
}

const missing = ({ bench }: SavedReport, name: string) =>
  new MillraceError('E_INPUT', `the report of ${bench} has no row "${name}"`);

async function readJson<T>(path: string): Promise<T> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T;
  } catch (cause) {
    throw new MillraceError('E_INPUT', `cannot read ${path}`, { cause });
  }
}
