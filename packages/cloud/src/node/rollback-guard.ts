import { type ControlClient, type LedgerHead, ledgerHead } from '@millrace/api';
import { type Closable, type Logger, MillraceError, sleep, toMillraceError } from '@millrace/base';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from './table.ts';

/** Interval at which a node reports its state to control, ms. */
const TELL_MS = 2_000;
const RETRY_MS = 1_000;

/**
 * Detects restored state at the start of a proactive node (spec/protocol.md, section 7): the node compares its records
 * of the installation with control's. A node that was restored to an older state is quarantined and does nothing until
 * an administrator has recovered it.
 */
export class RollbackGuard implements Closable {
  readonly #ledger: Table<LedgerHead>;
  readonly #control: Pick<ControlClient, 'nodes'>;
  readonly #epoch: () => number;
  readonly #logger: Logger;
  readonly #stop = new AbortController();
  #suspicion: string | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(modules: {
    store: RecordStore;
    control: Pick<ControlClient, 'nodes'>;
    epoch: () => number;
    logger: Logger;
  }) {
    this.#ledger = new Table(modules.store, 'ledger-head', ledgerHead);
    this.#control = modules.control;
    this.#epoch = modules.epoch;
    this.#logger = modules.logger;
  }

  /**
   * Calls `admitted` once, when control confirms that this node's state is not older than control's record of it. Until
   * then the node is idle.
   */
  start(admitted: () => Promise<void>): void {
    this.#running = this.#run(admitted).catch(() => undefined);
  }

  /** Records that this node was restored to an older state. Reported to control, for `millrace status`. */
  suspect(reason: string): MillraceError {
    this.#suspicion = reason;
    return new MillraceError('E_QUARANTINE', reason);
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the node is closing'));
    await this.#running;
  }

  async #run(admitted: () => Promise<void>): Promise<void> {
    let idle = true;
    let said: string | undefined;
    while (!this.#stop.signal.aborted) {
      try {
        await this.#tell();
        if (idle) await admitted();
        idle = false;
        await sleep(TELL_MS, this.#stop.signal);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        const coded = toMillraceError(error);
        if (coded.code === 'E_QUARANTINE' && said !== coded.message) {
          said = coded.message;
          this.#logger.error({ err: coded, idle }, 'node is quarantined: an administrator has to recover it');
        }
        await sleep(RETRY_MS, this.#stop.signal);
      }
    }
  }

  async #tell(): Promise<void> {
    const known = await this.#ledger.get('newest');
    const body = { epoch: this.#epoch(), suspicion: this.#suspicion, ...(known && { ledger: known }) };
    const told = await this.#control.nodes.head({ body }, { timeoutMs: 10_000, signal: this.#stop.signal });
    if (known === undefined) await this.#ledger.create('newest', told);
    else if (told.size > known.size) await this.#ledger.update('newest', () => told);
  }
}

/** Number of ledger entries that a proactive node has seen, from its store; 0 when none. */
export async function ledgerSizeSeen(store: RecordStore): Promise<number> {
  return (await new Table(store, 'ledger-head', ledgerHead).get('newest'))?.size ?? 0;
}

/** Makes the node accept any ledger that control shows it next. */
export async function forgetLedger(store: RecordStore): Promise<void> {
  await new Table(store, 'ledger-head', ledgerHead).remove('newest');
}

const seenEpochs = (store: RecordStore) =>
  new Table(store, 'seen-epoch', z.strictObject({ epoch: z.number().int().nonnegative() }));

/** The newest epoch of which the segments node has received a sweep's message. Later epochs follow one by one. */
export class SeenEpoch {
  readonly #table: Table<{ epoch: number }>;
  #epoch: number;

  private constructor(table: Table<{ epoch: number }>, epoch: number) {
    this.#table = table;
    this.#epoch = epoch;
  }

  static async open(store: RecordStore): Promise<SeenEpoch> {
    const table = seenEpochs(store);
    return new SeenEpoch(table, (await table.get('newest'))?.epoch ?? 0);
  }

  static forget(store: RecordStore): Promise<void> {
    return seenEpochs(store).remove('newest');
  }

  /** 0 when none. */
  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Compares a sweep's message to epoch `to` with the newest epoch, also of nodes that share the records. `old`: an earlier message. A restored mailbox may
   * hold such messages, so they prove nothing about the keys node. `ahead`: earlier messages never arrived here.
   */
  async judge(to: number): Promise<'old' | 'ahead' | 'fits'> {
    const fits = () => this.#epoch === 0 || to === this.#epoch || to === this.#epoch + 1;
    if (fits()) return 'fits';
    this.#epoch = Math.max(this.#epoch, (await this.#table.get('newest'))?.epoch ?? 0);
    if (fits()) return 'fits';
    return to < this.#epoch ? 'old' : 'ahead';
  }

  /** Records the epoch. Must be durable before any cell of the epoch is. */
  async note(to: number): Promise<void> {
    if (to <= this.#epoch) return;
    if (!(await this.#table.create('newest', { epoch: to })))
      await this.#table.update('newest', (known) => (known.epoch >= to ? known : { epoch: to }));
    this.#epoch = to;
  }
}
