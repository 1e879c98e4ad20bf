import { fromHex, type MillraceError } from '@millrace/base';
import { encodeMessage } from '@millrace/vault';
import { z } from 'zod';
import type { Table } from '../node/table.ts';
import { type IngestJob, type IngestModules, ingestFields, ingestTable } from './ingest-job.ts';

/** Sealed segments held in memory at a time. */
const BATCH = 256;

const recordSchema = z.strictObject(ingestFields);
export type StoreRecord = z.output<typeof recordSchema>;

/**
 * Stores an uploaded design (spec/vault.md, "Storing"). A node that goes on with a job repeats the design from the
 * start; existing cells stay unchanged. A job's id is the design's.
 */
export class StoreDesign implements IngestJob<StoreRecord> {
  readonly name = 'store';
  readonly repeats = true;
  readonly pending: Table<StoreRecord>;
  readonly #modules: IngestModules;

  constructor(modules: IngestModules) {
    this.#modules = modules;
    this.pending = ingestTable(modules.store, 'storing', recordSchema);
  }

  async ingest({ design }: StoreRecord, signal: AbortSignal): Promise<void> {
    const { designs, staged, placements } = this.#modules;
    const manifest = await designs.manifestOf(design);
    for (let from = 0; from < manifest.segments; from += BATCH) {
      const count = Math.min(BATCH, manifest.segments - from);
      const numbers = Array.from({ length: count }, (_, i) => from + i);
      const sealed = await staged.fetch(design, numbers, signal);
      await placements.request({ design, manifest, from, count, sealed, signal });
    }
    await placements.allRecorded(design, signal);
  }

  complete(design: string): Promise<void> {
    return this.#modules.mail.send(
      { role: 'control', partition: design },
      { type: 'design.stored', design },
      `stored/${design}`,
    );
  }

  async refuse(design: string, _: StoreRecord, error: MillraceError, signal: AbortSignal): Promise<void> {
    const { staged, mail } = this.#modules;
    const { code, message: reason } = error;
    // After E_UPLOAD the owner can still upload the missing segments, so keep those that are staged.
    if (code !== 'E_UPLOAD') await staged.wipe(design, signal);
    const refused = { type: 'refused', design: fromHex(design), from: 0, code, reason } as const;
    await mail.send({ role: 'keys', partition: design }, { type: 'vault', message: encodeMessage(refused) });
    await mail.send({ role: 'control', partition: design }, { type: 'design.refused', design, code, reason });
  }
}
