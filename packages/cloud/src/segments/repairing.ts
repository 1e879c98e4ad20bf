import { setMaxListeners } from 'node:events';
import { type Logger, MillraceError, sleep, toMillraceError } from '@millrace/base';
import { type HttpClient, type MessageOf, segmentNumbers } from '@millrace/protocol';
import type { Store } from '@millrace/stores';
import type { CellStore, StoreMessage } from '@millrace/vault';
import { z } from 'zod';
import type { MailClient } from '../node/mail-client.ts';
import { runsOf } from '../node/runs.ts';
import { Table } from '../node/table.ts';
import type { DesignBook } from './designs.ts';
import { fetchSealed, Instructions } from './instructions.ts';

/** Sealed segments held in memory at a time. */
const BATCH = 64;

const recordSchema = z.strictObject({
  design: z.string(),
  repair: z.string(),
  segments: segmentNumbers,
  /** From here on the staging copies may be gone. */
  stored: z.boolean().optional(),
});
type Repair = z.output<typeof recordSchema>;

export interface RepairingModules {
  readonly store: Store;
  readonly designs: DesignBook;
  readonly cells: CellStore;
  readonly distribution: HttpClient;
  readonly mail: MailClient;
  readonly logger: Logger;
}

/**
 * Stores segments of a stored design again, from the owner's offline copy by way of the staging folder. Every one is
 * compared with the manifest that the owner signed once, goes to its present place, and replaces what lies there only
 * when that is not sound. What is under way is written down; doing it twice changes nothing.
 */
export class Repairing {
  readonly #modules: RepairingModules;
  readonly #pending: Table<Repair>;
  readonly #instructions: Instructions;
  readonly #stop = new AbortController();
  #current: { readonly design: string; readonly cancel: AbortController } | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(modules: RepairingModules) {
    this.#modules = modules;
    setMaxListeners(0, this.#stop.signal);
    this.#pending = new Table(modules.store, 'repairing', recordSchema);
    this.#instructions = new Instructions(modules.cells, modules.mail);
  }

  /** Goes on with what a killed process left. */
  async start(): Promise<void> {
    for await (const [repair] of this.#pending.list()) this.#queue(repair);
  }

  async begin({ design, repair, segments }: MessageOf<'design.repair'>): Promise<void> {
    if (await this.#pending.create(repair, { design, repair, segments })) this.#queue(repair);
  }

  expects(message: StoreMessage): boolean {
    return this.#instructions.expects(message);
  }

  instructed(message: StoreMessage): Promise<void> {
    return this.#instructions.arrived(message);
  }

  /** Gives up the design's repairs. */
  async cancel(design: string): Promise<void> {
    for await (const [repair, record] of this.#pending.list())
      if (record.design === design) await this.#pending.remove(repair);
    if (this.#current?.design === design)
      this.#current.cancel.abort(new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design'));
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
    await this.#running;
  }

  #queue(repair: string): void {
    this.#running = this.#running.then(() => this.#repairUntilDone(repair)).catch(() => undefined);
  }

  async #repairUntilDone(repair: string): Promise<void> {
    const { mail, logger, distribution } = this.#modules;
    const record = await this.#pending.get(repair);
    if (record === undefined) return;
    const { design } = record;
    const cancel = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, cancel.signal]);
    setMaxListeners(0, signal);
    this.#current = { design, cancel };
    for (let delay = 200; !signal.aborted; delay = Math.min(2 * delay, 5_000)) {
      try {
        if ((await this.#pending.require(repair)).stored !== true) {
          await this.#storeAll(record, signal);
          await this.#pending.update(repair, (current) => ({ ...current, stored: true }));
        }
        // Before control hears of it: the owner may upload more then.
        await distribution.call('DELETE', `/v1/uploads/${design}`, { signal });
        const { segments } = record;
        await mail.send('control', { type: 'design.repaired', design, repair, segments }, `repaired/${repair}`);
        await this.#pending.remove(repair);
        return logger.info({ design, segments: record.segments.length }, 'design repaired');
      } catch (error) {
        if (signal.aborted) return;
        const coded = toMillraceError(error);
        logger.warn({ err: coded, design }, 'design not repaired');
        if (coded.retryable && coded.code !== 'E_UPLOAD') {
          await sleep(delay, signal);
          continue;
        }
        const { code, message: reason } = coded;
        const failed = { type: 'design.repaired' as const, design, repair, segments: [], code, reason };
        await mail.send('control', failed, `repaired/${repair}`);
        return this.#pending.remove(repair);
      }
    }
  }

  /** The keys node gives places for runs of segments. */
  async #storeAll({ design, segments }: Repair, signal: AbortSignal): Promise<void> {
    const manifest = await this.#modules.designs.manifestOf(design);
    for (const numbers of runsOf(segments, BATCH)) {
      const sealed = await fetchSealed(this.#modules.distribution, design, numbers, signal);
      const from = numbers[0] ?? 0;
      await this.#instructions.request({
        design,
        manifest,
        from,
        count: numbers.length,
        sealed,
        signal,
        replace: true,
      });
    }
  }
}
