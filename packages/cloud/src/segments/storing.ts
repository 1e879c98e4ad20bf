import { fromHex, isErrorCode, type Logger, MillraceError, toHex } from '@millrace/base';
import type { HttpClient } from '@millrace/protocol';
import type { Store } from '@millrace/stores';
import { type CellStore, encodeMessage, type RefusedMessage, type StoreMessage } from '@millrace/vault';
import { z } from 'zod';
import type { MailClient } from '../node/mail-client.ts';
import { Table } from '../node/table.ts';
import { Bringing } from './bringing.ts';
import type { DesignBook } from './designs.ts';
import { fetchSealed, Instructions } from './instructions.ts';

/** Sealed segments held in memory at a time. */
const BATCH = 256;

const recordSchema = z.strictObject({ design: z.string(), stored: z.boolean().optional() });

export interface BringingModules {
  readonly store: Store;
  readonly designs: DesignBook;
  readonly cells: CellStore;
  readonly distribution: HttpClient;
  readonly mail: MailClient;
  readonly logger: Logger;
}

/**
 * Brings uploaded designs into the matrix (spec/vault.md, "Storing"). A restarted node begins the design again, and cells
 * that exist are left as they are.
 */
export class Storing {
  readonly #designs: DesignBook;
  readonly #distribution: HttpClient;
  readonly #instructions: Instructions;
  readonly #bringing: Bringing<z.output<typeof recordSchema>>;

  constructor({ store, designs, cells, distribution, mail, logger }: BringingModules) {
    this.#designs = designs;
    this.#distribution = distribution;
    this.#instructions = new Instructions(cells, mail);
    this.#bringing = new Bringing({
      pending: new Table(store, 'storing', recordSchema),
      distribution,
      logger,
      what: 'design stored',
      bring: ({ design }, signal) => this.#storeAll(design, signal),
      done: (design) => mail.send('control', { type: 'design.stored', design }, `stored/${design}`),
      refused: async (design, _, { code, message: reason }, signal) => {
        // What is missing may still come, and what came stays for it.
        if (code !== 'E_UPLOAD') await this.#bringing.wipe(design, signal);
        const refused = { type: 'refused', design: fromHex(design), from: 0, code, reason } as const;
        await mail.send('keys', { type: 'vault', message: encodeMessage(refused) });
        await mail.send('control', { type: 'design.refused', design, code, reason });
      },
    });
  }

  start(): Promise<void> {
    return this.#bringing.start();
  }

  async begin(design: string): Promise<void> {
    await this.#designs.manifestOf(design);
    await this.#bringing.begin(design, { design });
  }

  /** The keys node's instructions: for the design that waits for them, or decoys. */
  async instructed(message: StoreMessage): Promise<void> {
    if (message.decoys) await this.#instructions.store(message);
    else await this.#instructions.arrived(message);
  }

  /** The keys node cannot open the design's keys: the design is given up, and the others are not held up. */
  refused({ design, code, reason }: RefusedMessage): void {
    const known = isErrorCode(code) ? code : 'E_SEAL';
    this.#instructions.refused(toHex(design), new MillraceError(known, `the keys node refuses the design: ${reason}`));
  }

  /** Gives the design up and has its staging copies wiped; nothing of it is stored once this resolves. */
  async cancel(design: string): Promise<void> {
    await this.#bringing.cancel(design);
    await this.#bringing.wipe(design);
  }

  close(): Promise<void> {
    return this.#bringing.close();
  }

  async #storeAll(design: string, signal: AbortSignal): Promise<void> {
    const manifest = await this.#designs.manifestOf(design);
    for (let from = 0; from < manifest.segments; from += BATCH) {
      const count = Math.min(BATCH, manifest.segments - from);
      const numbers = Array.from({ length: count }, (_, i) => from + i);
      const sealed = await fetchSealed(this.#distribution, design, numbers, signal);
      await this.#instructions.request({ design, manifest, from, count, sealed, signal });
    }
  }
}
