import { setMaxListeners } from 'node:events';
import { type Bytes, fromHex, type Logger, MillraceError, sleep, toHex, toMillraceError } from '@millrace/base';
import type { HttpClient } from '@millrace/protocol';
import type { Store } from '@millrace/stores';
import {
  type CellStore,
  encodeMessage,
  type Manifest,
  type StoreMessage,
  segmentHash,
  type VaultMessage,
  wipeMessage,
} from '@millrace/vault';
import { z } from 'zod';
import type { MailClient } from '../node/mail-client.ts';
import { Table } from '../node/table.ts';
import type { DesignBook } from './designs.ts';

/** Sealed segments held in memory at a time. */
const BATCH = 256;
/** How long to wait for the keys node before asking again. */
const ANSWER_MS = 20_000;

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
  readonly #stop = new AbortController();
  readonly #answers = new Map<string, (message: StoreMessage) => void>();
  #running: Promise<void> = Promise.resolve();

  constructor(modules: StoringModules) {
    this.#modules = modules;
    setMaxListeners(2 * BATCH, this.#stop.signal); // one for each segment that is being fetched
    this.#pending = new Table(modules.store, 'storing', z.strictObject({ design: z.string(), stored: z.boolean().optional() }));
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
    if (!message.decoys) {
      const take = this.#answers.get(answerKey(toHex(message.design), message.from));
      if (take === undefined) wipeMessage(message);
      else take(message);
      return;
    }
    const stored = await this.#modules.cells.storeCells(message);
    wipeMessage(message);
    await this.#tell(stored);
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
    for (let delay = 200; !this.#stop.signal.aborted; delay = Math.min(2 * delay, 5_000)) {
      try {
        if ((await this.#pending.require(design)).stored !== true) {
          await this.#storeAll(design);
          // From here on the staging copies may be gone: a restart does not look for them again.
          await this.#pending.update(design, (record) => ({ ...record, stored: true }));
        }
        await distribution.call('DELETE', `/v1/uploads/${design}`, { signal: this.#stop.signal });
        await mail.send('control', { type: 'design.stored', design }, `stored/${design}`);
        await this.#pending.remove(design);
        return logger.info({ design }, 'design stored');
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const coded = toMillraceError(error);
        logger.warn({ err: coded, design }, 'design not stored');
        if (coded.code === 'E_UPLOAD' || !coded.retryable) return this.#refuse(design, coded);
        await sleep(delay, this.#stop.signal);
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

  async #storeAll(design: string): Promise<void> {
    const manifest = await this.#modules.designs.manifestOf(design);
    for (let from = 0; from < manifest.segments; from += BATCH) {
      const count = Math.min(BATCH, manifest.segments - from);
      const sealed = await this.#fetch(design, from, count);
      const message = await this.#instructions(design, from, count);
      try {
        await this.#tell(await this.#modules.cells.storeCells(message, sourceOf(manifest, from, sealed)));
      } finally {
        wipeMessage(message);
      }
    }
  }

  async #fetch(design: string, from: number, count: number): Promise<Bytes[]> {
    const { distribution } = this.#modules;
    const numbers = Array.from({ length: count }, (_, i) => from + i);
    return Promise.all(
      numbers.map(async (number) => {
        try {
          return (await distribution.call('GET', `/v1/uploads/${design}/${number}`, { signal: this.#stop.signal }))
            .body;
        } catch (error) {
          if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') {
            throw new MillraceError('E_UPLOAD', `segment ${number} has not been uploaded`, {
              data: { segment: number },
            });
          }
          throw error;
        }
      }),
    );
  }

  /** Asks the keys node where the cells go, again if no answer comes. */
  async #instructions(design: string, from: number, count: number): Promise<StoreMessage> {
    const key = answerKey(design, from);
    const answered = new Promise<StoreMessage>((resolve) => this.#answers.set(key, resolve));
    try {
      for (;;) {
        await this.#tell({ type: 'want', design: fromHex(design), from, count });
        const message = await Promise.race([answered, sleep(ANSWER_MS, this.#stop.signal)]);
        if (message !== undefined) return message;
      }
    } finally {
      this.#answers.delete(key);
    }
  }

  #tell(message: VaultMessage): Promise<void> {
    return this.#modules.mail.send('keys', { type: 'vault', message: encodeMessage(message) });
  }
}

function sourceOf(manifest: Manifest, from: number, sealed: readonly Bytes[]) {
  return {
    sealed: (segment: number) => {
      const bytes = sealed[segment - from];
      if (bytes === undefined) throw new MillraceError('E_UPLOAD', `segment ${segment} is not at hand`);
      return bytes;
    },
    hash: (segment: number) => segmentHash(manifest, segment),
  };
}

function answerKey(design: string, from: number): string {
  return `${design}/${from}`;
}
