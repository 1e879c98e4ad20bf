import { join } from 'node:path';
import { type MillraceError, toHex, writeDurably } from '@millrace/base';
import { drawSvg, type ToolPath } from '@millrace/toolpath';
import { drawPng } from '@millrace/toolpath/png';
import { evidence } from './failure.ts';
import type { AgentParts } from './parts.ts';
import type { PrintProgress } from './progress.ts';
import type { RunRecord } from './run-record.ts';

/**
 * Local record of an object that the machine made or began: counts, times and the hash of the executed bytes. The
 * counts of `PathFacts` are present only if the owner discloses positions.
 */
export interface ObjectRecord extends Partial<PathFacts> {
  readonly object: string;
  readonly print: string;
  readonly run: string;
  readonly event: 'completed' | 'failed';
  /** ISO 8601. */
  readonly started: string;
  readonly ended: string;
  readonly code?: string | undefined;
  readonly reason?: string | undefined;
  readonly segments: number;
  /** Number of bytes that the machine executed, and their SHA-256. */
  readonly bytes: number;
  readonly sha256: string | undefined;
  readonly machineSeconds: number;
  /** Real seconds during which the machine waited for content. */
  readonly starvedSeconds: number;
  readonly sessions: number;
  /** Hints received and solved. */
  readonly hints: number;
  /** Bytes on the machine's link for this object, both directions, TLS included. */
  readonly wire: number;
  /** `wire` per byte of the design. */
  readonly overhead: number | undefined;
}

/** Facts from which the object's path could be redrawn. */
export interface PathFacts {
  readonly lines: number;
  readonly layers: number;
  readonly moves: number;
  readonly unknownCommands: number;
  readonly filamentMm: number;
}

/**
 * Writes data/objects/OBJECT.json and, for a machine that knows its path, OBJECT.png and OBJECT.svg.
 * @param path absent if the owner's licence does not disclose it at the machine
 */
async function saveObject(
  data: string,
  path: (PathFacts & { readonly toolPath: ToolPath | undefined }) | undefined,
  record: ObjectRecord,
): Promise<void> {
  const base = join(data, 'objects', record.object);
  const { toolPath, facts } = path === undefined ? {} : disclosed(path);
  await writeDurably(`${base}.json`, `${JSON.stringify({ ...record, ...facts }, null, 2)}\n`);
  if (facts === undefined || toolPath === undefined || toolPath.length === 0) return;
  const said = `${facts.lines} lines, ${(facts.filamentMm / 1000).toFixed(2)} m filament`;
  const options = { title: record.object, facts: [said] };
  await writeDurably(`${base}.svg`, drawSvg(toolPath, options));
  await writeDurably(`${base}.png`, drawPng(toolPath, options));
}

/**
 * Writes the local files of a print that ended.
 * @param of.disclosed whether the owner's licence discloses positions at the machine
 */
export async function recordObject(
  { config, driver, clock }: Pick<AgentParts, 'config' | 'driver' | 'clock'>,
  of: {
    readonly record: RunRecord;
    readonly progress: PrintProgress;
    readonly event: ObjectRecord['event'];
    readonly error: MillraceError | undefined;
    readonly disclosed: boolean;
  },
): Promise<void> {
  const { record, progress, event, error } = of;
  const { object, print, run, started } = record;
  if (object === undefined) return;
  const summary = driver.summary();
  const wire = progress.wireBytes();
  const path = of.disclosed
    ? { ...summary, toolPath: event === 'completed' ? driver.toolPath() : undefined }
    : undefined;
  await saveObject(config.data, path, {
    object,
    print,
    run,
    event,
    started: new Date(progress.startedAt).toISOString(),
    ended: new Date(clock.now()).toISOString(),
    ...(error === undefined ? {} : evidence(error)),
    segments: progress.taken,
    bytes: summary.executedBytes,
    sha256: started ? toHex(summary.sha256) : undefined,
    machineSeconds: summary.machineSeconds,
    starvedSeconds: summary.starvedSeconds,
    sessions: progress.sessions,
    hints: progress.hints,
    wire,
    overhead: summary.executedBytes === 0 ? undefined : wire / summary.executedBytes,
  });
}

function disclosed(path: PathFacts & { readonly toolPath: ToolPath | undefined }) {
  const { lines, layers, moves, unknownCommands, filamentMm, toolPath } = path;
  return { toolPath, facts: { lines, layers, moves, unknownCommands, filamentMm } };
}
