import { join } from 'node:path';
import { drawPng, drawSvg, type ToolPath } from '../tool-path/index.ts';
import { writeDurably } from './files.ts';

/** What stays beside the machine of an object that it made, or began: counts, times and the hash of the executed bytes. */
export interface ObjectRecord {
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
  /** Bytes that the machine executed, and their SHA-256. */
  readonly bytes: number;
  readonly sha256: string | undefined;
  readonly lines: number;
  readonly layers: number;
  readonly moves: number;
  readonly unknownCommands: number;
  readonly filamentMm: number;
  readonly machineSeconds: number;
  /** Real seconds in which the machine waited for content. */
  readonly starvedSeconds: number;
  readonly sessions: number;
  /** Hints received and solved. */
  readonly hints: number;
  /** Bytes on the machine's link for this object, both ways, TLS included. */
  readonly wire: number;
  /** `wire` for each byte of the design. */
  readonly overhead: number | undefined;
}

/** Writes data/objects/OBJECT.json and, for a machine that knows its path, OBJECT.png and OBJECT.svg. */
export async function saveObject(data: string, path: ToolPath | undefined, record: ObjectRecord): Promise<void> {
  const base = join(data, 'objects', record.object);
  await writeDurably(`${base}.json`, `${JSON.stringify(record, null, 2)}\n`);
  if (path === undefined || path.length === 0) return;
  const options = {
    title: record.object,
    facts: [`${record.lines} lines, ${(record.filamentMm / 1000).toFixed(2)} m filament`],
  };
  await writeDurably(`${base}.svg`, drawSvg(path, options));
  await writeDurably(`${base}.png`, drawPng(path, options));
}
