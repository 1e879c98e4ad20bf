import { type HttpClient, type MessageOf, segmentNumbers } from '@millrace/protocol';
import type { StoreMessage } from '@millrace/vault';
import { z } from 'zod';
import { runsOf } from '../node/runs.ts';
import { Table } from '../node/table.ts';
import { Bringing } from './bringing.ts';
import type { DesignBook } from './designs.ts';
import { fetchSealed, Instructions } from './instructions.ts';
import type { BringingModules } from './storing.ts';

/** Sealed segments held in memory at a time. */
const BATCH = 64;

const recordSchema = z.strictObject({
  design: z.string(),
  repair: z.string(),
  segments: segmentNumbers,
  stored: z.boolean().optional(),
});
type Repair = z.output<typeof recordSchema>;

/**
 * Stores segments of a stored design again, from the owner's offline copy by way of the staging folder. Every one is
 * compared with the manifest that the owner signed once, goes to its present place, and replaces what lies there only
 * when that is not sound.
 */
export class Repairing {
  readonly #designs: DesignBook;
  readonly #distribution: HttpClient;
  readonly #instructions: Instructions;
  readonly #bringing: Bringing<Repair>;

  constructor({ store, designs, cells, distribution, mail, logger }: BringingModules) {
    this.#designs = designs;
    this.#distribution = distribution;
    this.#instructions = new Instructions(cells, mail);
    this.#bringing = new Bringing({
      pending: new Table(store, 'repairing', recordSchema),
      distribution,
      logger,
      what: 'design repaired',
      bring: (record, signal) => this.#storeAll(record, signal),
      done: (repair, { design, segments }) =>
        mail.send('control', { type: 'design.repaired', design, repair, segments }, `repaired/${repair}`),
      refused: (repair, { design }, { code, message: reason }) => {
        const failed = { type: 'design.repaired' as const, design, repair, segments: [], code, reason };
        return mail.send('control', failed, `repaired/${repair}`);
      },
    });
  }

  start(): Promise<void> {
    return this.#bringing.start();
  }

  begin({ design, repair, segments }: MessageOf<'design.repair'>): Promise<void> {
    return this.#bringing.begin(repair, { design, repair, segments });
  }

  expects(message: StoreMessage): boolean {
    return this.#instructions.expects(message);
  }

  instructed(message: StoreMessage): Promise<void> {
    return this.#instructions.arrived(message);
  }

  /** Gives up the design's repairs. */
  cancel(design: string): Promise<void> {
    return this.#bringing.cancel(design);
  }

  close(): Promise<void> {
    return this.#bringing.close();
  }

  /** The keys node gives places for runs of segments. */
  async #storeAll({ design, segments }: Repair, signal: AbortSignal): Promise<void> {
    const manifest = await this.#designs.manifestOf(design);
    for (const numbers of runsOf(segments, BATCH)) {
      const sealed = await fetchSealed(this.#distribution, design, numbers, signal);
      const [from = 0, count] = [numbers[0], numbers.length];
      await this.#instructions.request({ design, manifest, from, count, sealed, signal, replace: true });
    }
  }
}
