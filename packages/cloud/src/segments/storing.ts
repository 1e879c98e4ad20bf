import { setMaxListeners } from 'node:events';
import { fromHex, type Logger, MillraceError, sleep, toMillraceError } from '@millrace/base';
import type { HttpClient } from '@millrace/protocol';
import type { Store } from '@millrace/stores';
import { type CellStore, encodeMessage, type Manifest, type StoreMessage, type VaultMessage } from '@millrace/vault';
import { z } from 'zod';
import type { MailClient } from '../node/mail-client.ts';
import { Table } from '../node/table.ts';
import type { DesignBook } from './designs.ts';
import { fetchSealed, Instructions } from './instructions.ts';

/** Sealed segments held in memory at a time. */
const BATCH = 256;

export interface StoringModules {
  readonly store: Store;
  readonly designs: DesignBook;
  readonly cells: CellStore;
  readonly distribution: HttpClient;
  readonly mail: MailClient;
  readonly logger: Logger;
}

/**
 * Brings uploaded designs into the matrix, one after the other (spec/vault.md, "Storing"). What is under way is written
 * down: a restarted node begins the design again, and cells that exist are left as they are.
 */
export class Storing {
  readonly #modules: StoringModules;
  readonly #pending: Table<{ design: string; stored?: boolean | undefined }>;
  readonly #instructions: Instructions;
  readonly #stop = new AbortController();
  #current: { readonly design: string; readonly cancel: AbortController } | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(modules: StoringModules) {
    this.#modules = modules;
    setMaxListeners(0, this.#stop.signal); // one for each segment that is being fetched
    const record = z.strictObject({ design: z.string(), stored: z.boolean().optional() });
    this.#pending = new Table(modules.store, 'storing', record);
    this.#instructions = new Instructions(modules.cells, modules.mail);
  }

  /** Goes on with what a killed process left. */
  async start(): Promise<void> {
    for await (const [design] of this.#pending.list()) this.#queue(design);
  }

  async begin(design: string): Promise<void> {
    await this.#modules.designs.manifestOf(design);
    if (await this.#pending.create(design, { design })) this.#queue(design);
  }

  /** The keys node's instructions: for the design that waits for them, or decoys. */
  async instructed(message: StoreMessage): Promise<void> {
    if (message.decoys) await this.#instructions.store(message);
    else await this.#instructions.arrived(message);
  }

  /** Gives the design up and has its staging copies wiped; nothing of it is stored once this resolves. */
  async cancel(design: string): Promise<void> {
    await this.#pending.remove(design);
    if (this.#current?.design === design)
      this.#current.cancel.abort(new MillraceError('E_DESIGN_DELETED', 'the owner has deleted the design'));
    await this.#modules.distribution.call('DELETE', `/v1/uploads/${design}`, { signal: this.#stop.signal });
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
    await this.#running;
  }

  #queue(design: string): void {
    this.#running = this.#running.then(() => this.#storeUntilDone(design)).catch(() => undefined);
  }

  async #storeUntilDone(design: string): Promise<void> {
    const { mail, logger, distribution } = this.#modules;
    const cancel = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, cancel.signal]);
    setMaxListeners(0, signal);
    this.#current = { design, cancel };
    for (let delay = 200; !signal.aborted; delay = Math.min(2 * delay, 5_000)) {
      try {
        const pending = await this.#pending.get(design);
        if (pending === undefined) return; // given up before its turn came
        if (pending.stored !== true) {
          await this.#storeAll(design, signal);
          // From here on the staging copies may be gone: a restart does not look for them again.
          await this.#pending.update(design, (record) => ({ ...record, stored: true }));
        }
        await distribution.call('DELETE', `/v1/uploads/${design}`, { signal });
        await mail.send('control', { type: 'design.stored', design }, `stored/${design}`);
        await this.#pending.remove(design);
        return logger.info({ design }, 'design stored');
      } catch (error) {
        if (signal.aborted) return;
        const coded = toMillraceError(error);
        logger.warn({ err: coded, design }, 'design not stored');
        if (coded.code === 'E_UPLOAD' || !coded.retryable) return this.#refuse(design, coded);
        await sleep(delay, signal);
      }
    }
  }

  async #refuse(design: string, { code, message }: MillraceError): Promise<void> {
    const { mail, distribution } = this.#modules;
    if (code !== 'E_UPLOAD') await distribution.call('DELETE', `/v1/uploads/${design}`, { signal: this.#stop.signal });
    await this.#tell({ type: 'refused', design: fromHex(design), from: 0, code, reason: message });
    await mail.send('control', { type: 'design.refused', design, code, reason: message });
    await this.#pending.remove(design);
  }

  async #storeAll(design: string, signal: AbortSignal): Promise<void> {
    const manifest: Manifest = await this.#modules.designs.manifestOf(design);
    for (let from = 0; from < manifest.segments; from += BATCH) {
      const count = Math.min(BATCH, manifest.segments - from);
      const numbers = Array.from({ length: count }, (_, i) => from + i);
      const sealed = await fetchSealed(this.#modules.distribution, design, numbers, signal);
      await this.#instructions.request({ design, manifest, from, count, sealed, signal });
    }
  }

  #tell(message: VaultMessage): Promise<void> {
    return this.#modules.mail.send('keys', { type: 'vault', message: encodeMessage(message) });
  }
}
