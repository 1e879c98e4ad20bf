import { equalBytes, fromBase64, MillraceError } from '@millrace/base';
import {
  type AccountHead,
  CompactRange,
  decodeBundle,
  decodeOpening,
  followAccount,
  type LoggedEvent,
  leafHash,
  TILE_WIDTH,
  tilePath,
} from '@millrace/ledger';
import type { Session } from './session.ts';

/** A tree head. */
export interface Head {
  readonly size: number;
  /** 32 bytes. */
  readonly root: Uint8Array;
}

export interface LogReaderOptions {
  /** Heads of the same log that were verified before, or elsewhere. */
  readonly known: readonly Head[];
  /** Receives each event that control opens, and the account before it. */
  readonly onEvent: (logged: LoggedEvent, before: AccountHead | undefined) => void;
  readonly progress: (done: number, total: number) => void;
}

/** Reads the whole log, and opens the entries of the accounts that the user may read. */
export class LogReader {
  readonly #session: Session;
  readonly #options: LogReaderOptions;
  readonly #range = new CompactRange();
  readonly #accounts = new Map<string, AccountHead>();
  #size = 0;
  #opened = 0;

  constructor(session: Session, options: LogReaderOptions) {
    this.#session = session;
    this.#options = options;
    this.#requireKnown();
  }

  /** Number of entries that were read. They lead to the root of the head that was given last. */
  get size(): number {
    return this.#size;
  }

  /** Number of entries that control opened. */
  get opened(): number {
    return this.#opened;
  }

  /** The accounts that control opened, as they are at the end. */
  get accounts(): ReadonlyMap<string, AccountHead> {
    return this.#accounts;
  }

  /**
   * Reads the entries up to a signed head.
   * @throws {MillraceError} E_LEDGER_TRUNCATED, E_LEDGER_ENTRY; E_LEDGER_PROOF if a known head is of another history
   */
  async readTo({ size, root }: Head): Promise<void> {
    const { api } = this.#session;
    const begun = this.#size;
    const openings = readOpenings(this.#session, begun, size);
    let opening = await openings.next();
    while (this.#size < size) {
      const index = Math.floor(this.#size / TILE_WIDTH);
      const first = index * TILE_WIDTH;
      const width = Math.min(TILE_WIDTH, size - first);
      const bundle = decodeBundle(await api.tile(tilePath({ kind: 'entries', index, width })));
      if (bundle.length !== width)
        throw new MillraceError('E_LEDGER_TRUNCATED', `the log ends before entry ${first + bundle.length}`);
      for (const entry of bundle.slice(this.#size - first)) {
        this.#range.push(leafHash(entry));
        this.#size += 1;
        this.#requireKnown();
        if (opening.done || opening.value.index !== this.#size - 1) continue;
        this.#take(opening.value, entry, begun > 0);
        opening = await openings.next();
      }
      this.#options.progress(this.#size, size);
    }
    if (!equalBytes(this.#range.root(), root))
      throw new MillraceError('E_LEDGER_ENTRY', 'the entries do not lead to the root of the signed checkpoint');
  }

  #requireKnown(): void {
    for (const { size, root } of this.#options.known)
      if (size === this.#size && !equalBytes(this.#range.root(), root))
        throw new MillraceError('E_LEDGER_PROOF', `the first ${size} entries are not those that were verified before`);
  }

  #take(logged: LoggedEvent, entry: Uint8Array, continued: boolean): void {
    if (!equalBytes(logged.entry, entry))
      throw new MillraceError('E_LEDGER_ENTRY', `control opens entry ${logged.index} to what it does not commit to`);
    const { account, sequence } = logged.event;
    const before = this.#accounts.get(account);
    this.#opened += 1;
    // The user may read this account only since the first entries were read.
    if (continued && before === undefined && sequence > 0) return;
    this.#options.onEvent(logged, before);
    this.#accounts.set(account, followAccount(before, logged));
  }
}

/** Control's openings for the user among the entries from `first` to `size`, in the order of the log. */
async function* readOpenings({ api }: Session, first: number, size: number): AsyncGenerator<LoggedEvent, undefined> {
  let last = first - 1;
  let cursor = first === 0 ? undefined : String(first);
  do {
    const page = await api.openings(cursor);
    for (const { index, opening } of page.items) {
      if (index <= last)
        throw new MillraceError('E_LEDGER_ENTRY', 'control opens entries in another order than the log');
      if (index >= size) return;
      last = index;
      yield decodeOpening(fromBase64(opening), index);
    }
    cursor = page.next;
  } while (cursor !== undefined);
}
