import type { MillraceError } from '@millrace/base';
import { segmentNumbers } from '@millrace/protocol';
import { z } from 'zod';
import { runsOf } from '../node/runs.ts';
import type { Table } from '../node/table.ts';
import { type IngestJob, type IngestModules, ingestFields, ingestTable } from './ingest-job.ts';

/** Sealed segments held in memory at a time. */
const BATCH = 64;

const recordSchema = z.strictObject({ ...ingestFields, repair: z.string(), segments: segmentNumbers });
export type RepairRecord = z.output<typeof recordSchema>;

/**
 * Stores segments of a stored design again, from the owner's offline copy. Every segment is compared with the manifest
 * that the owner signed, is stored in its present place, and replaces a cell only if that cell is damaged. A job's id
 * is the repair's.
 */
export class RepairDesign implements IngestJob<RepairRecord> {
  readonly name = 'repair';
  readonly repeats = false;
  readonly pending: Table<RepairRecord>;
  readonly #modules: IngestModules;

  constructor(modules: IngestModules) {
    this.#modules = modules;
    this.pending = ingestTable(modules.store, 'repairing', recordSchema);
  }

  /** Requests places for runs of segments from the keys node. */
  async ingest({ design, segments }: RepairRecord, signal: AbortSignal): Promise<void> {
    const { designs, staged, placements } = this.#modules;
    const manifest = await designs.manifestOf(design);
    for (const numbers of runsOf(segments, BATCH)) {
      const sealed = await staged.fetch(design, numbers, signal);
      const [from = 0, count] = [numbers[0], numbers.length];
      await placements.request({ design, manifest, from, count, sealed, signal, replace: true });
    }
    await placements.allRecorded(design, signal);
  }

  complete(repair: string, { design, segments }: RepairRecord): Promise<void> {
    const repaired = { type: 'design.repaired' as const, design, repair, segments };
    return this.#modules.mail.send({ role: 'control', partition: design }, repaired, `repaired/${repair}`);
  }

  refuse(repair: string, { design }: RepairRecord, { code, message: reason }: MillraceError): Promise<void> {
    const failed = { type: 'design.repaired' as const, design, repair, segments: [], code, reason };
    return this.#modules.mail.send({ role: 'control', partition: design }, failed, `repaired/${repair}`);
  }
}
