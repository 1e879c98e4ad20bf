import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { type AccountRecord, indexOfEvent, readAccount } from './account-record.ts';
import type { LedgerEvent } from './event.ts';
import { decodeIndex, eventIdKey, tileKey } from './keys.ts';
import { decodeOpening, decodeRecord } from './opening.ts';
import { ProblemList } from './problems.ts';
import type { LedgerStore } from './store.ts';
import { TILE_HEIGHT, TILE_WIDTH } from './tiles.ts';
import { CompactRange, HASH_LENGTH, leafHash } from './tree.ts';

/**
 * Findings of one pass over the entries. Of a sound entry it keeps only the hashes of the higher tiles, so that memory
 * does not grow with the log.
 */
export class Replay {
  /** Problems of openings. */
  readonly openingProblems = new ProblemList();
  /** Problems of the look-up tables. */
  readonly indexProblems = new ProblemList();
  /** Accounts whose events the look-up table lists incorrectly. Their chains cannot be followed with it. */
  readonly unlisted = new Set<string>();
  readonly missing: { from: number; to: number }[] = [];
  /** Entries whose hash differs from the one in their tile. */
  readonly differing: number[] = [];
  readonly missingTiles = new Set<number>();
  /** Hashes of the tiles of levels 1, 2, …, computed from the stored level 0. */
  readonly upper: Bytes[][] = [];
  readonly rootsSeen = new Map<number, Bytes>();
  readonly fromEntries = new CompactRange();
  readonly fromTiles = new CompactRange();
  found = 0;
  /** Number of entries with a sound opening. */
  opened = 0;
  /** Number of those that are the first event of their account. */
  accounts = 0;
  /** Number of entries beyond the checkpoint's size. */
  beyond = 0;
  readonly size: number | undefined;
  readonly #store: LedgerStore;
  readonly #wanted: ReadonlySet<number>;
  #next = 0;
  #tile: { index: number; bytes: Uint8Array | undefined } | undefined;

  constructor(store: LedgerStore, size: number | undefined, wanted: ReadonlySet<number>) {
    this.#store = store;
    this.size = size;
    this.#wanted = wanted;
    if (wanted.has(0)) this.rootsSeen.set(0, this.fromEntries.root());
  }

  /** @param record entry and opening, as stored */
  async entry(index: number, record: Uint8Array): Promise<void> {
    const { entry, opening } = decodeRecord(record);
    await this.#skipTo(index);
    this.found += 1;
    this.#next = index + 1;
    const leaf = leafHash(entry);
    if (this.size !== undefined && index >= this.size) {
      this.beyond += 1;
    } else {
      const stored = await this.#tileHash(index);
      if (stored !== undefined && !equalBytes(stored, leaf)) this.differing.push(index);
      this.#pushTile(stored ?? leaf);
      if (this.missing.length === 0) {
        this.fromEntries.push(leaf);
        if (this.#wanted.has(index + 1)) this.rootsSeen.set(index + 1, this.fromEntries.root());
      }
    }
    await this.#open(index, entry, opening);
  }

  /** Handles entries at the end that the checkpoint counts but the store does not contain. */
  end(): Promise<void> {
    return this.#skipTo(Math.max(this.size ?? this.#next, this.#next));
  }

  async #skipTo(index: number): Promise<void> {
    if (index === this.#next) return;
    this.missing.push({ from: this.#next, to: index - 1 });
    for (; this.#next < Math.min(index, this.size ?? index); this.#next++) {
      const stored = await this.#tileHash(this.#next);
      // Without entry and tile the higher levels are unknown: a hash of zeros matches no root.
      this.#pushTile(stored ?? new Uint8Array(HASH_LENGTH));
    }
    this.#next = index;
  }

  #pushTile(hash: Uint8Array): void {
    this.fromTiles.push(hash, (level, _index, node) => {
      if (level === 0 || level % TILE_HEIGHT !== 0) return;
      const row = this.upper[level / TILE_HEIGHT - 1] ?? [];
      this.upper[level / TILE_HEIGHT - 1] = row;
      row.push(node);
    });
  }

  async #tileHash(index: number): Promise<Uint8Array | undefined> {
    const tile = Math.floor(index / TILE_WIDTH);
    if (this.#tile?.index !== tile) this.#tile = { index: tile, bytes: await this.#store.get(tileKey(0, tile)) };
    const from = (index % TILE_WIDTH) * HASH_LENGTH;
    const hash = this.#tile.bytes?.subarray(from, from + HASH_LENGTH);
    if (hash?.length === HASH_LENGTH) return hash;
    this.missingTiles.add(tile);
    return undefined;
  }

  async #open(index: number, entry: Uint8Array, opening: Uint8Array | undefined): Promise<void> {
    if (opening === undefined) {
      const message = `the opening of entry ${index} is missing`;
      this.openingProblems.add('E_LEDGER_TRUNCATED', 'opening', message, { index });
      return;
    }
    try {
      const { event, entry: committed } = decodeOpening(opening, index);
      if (equalBytes(committed, entry)) {
        this.opened += 1;
        await this.#listed(index, event);
        return;
      }
      const message = `the opening of entry ${index} is not what the entry commits to`;
      this.openingProblems.add('E_LEDGER_ENTRY', 'opening', message, { index, account: event.account });
    } catch (error) {
      if (!(error instanceof MillraceError) || error.code !== 'E_LEDGER_ENTRY') throw error;
      this.openingProblems.add('E_LEDGER_ENTRY', 'opening', error.message, { index });
    }
  }

  async #listed(index: number, { id, account, sequence }: LedgerEvent): Promise<void> {
    if (!isIndex(await this.#store.get(eventIdKey(id)), index)) {
      const message = `the event id ${id} does not refer to entry ${index}`;
      this.indexProblems.add('E_LEDGER_ENTRY', 'index', message, { index });
    }
    if (sequence === 0) this.accounts += 1;
    const record = await this.#accountOf(account);
    if (record !== undefined && (await indexOfEvent(this.#store, record, sequence)) === index) return;
    this.unlisted.add(account);
    const message =
      record === undefined
        ? `the stored head of account ${account} is missing or damaged`
        : `event ${sequence} of account ${account} does not refer to entry ${index}`;
    this.indexProblems.add('E_LEDGER_ENTRY', 'index', message, { index, account });
  }

  async #accountOf(account: string): Promise<AccountRecord | undefined> {
    try {
      return await readAccount(this.#store, account);
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'E_LEDGER_ENTRY') return undefined;
      throw error;
    }
  }
}

function isIndex(bytes: Uint8Array | undefined, index: number): boolean {
  return bytes !== undefined && decodeIndex(bytes) === index;
}
