import type { Bytes } from '@millrace/base';

/** 1 to 64 bytes; byte order is sort order. An index belongs to one epoch; the writer ensures this. */
export type CellIndex = Uint8Array;

export interface Cell {
  /** 0 to 2^32 − 1. */
  readonly epoch: number;
  readonly body: Bytes;
}

export interface NewCell {
  readonly index: CellIndex;
  /** 0 to 2^32 − 1. */
  readonly epoch: number;
  readonly body: Uint8Array;
}

/** A cell without its body. */
export interface CellHead {
  readonly index: Bytes;
  readonly epoch: number;
  /** Length of the body, bytes. */
  readonly length: number;
}

/** Indexes above `after`, up to `upto`; all indexes if there are no bounds. */
export interface IndexRange {
  readonly after?: CellIndex;
  readonly upto?: CellIndex;
}

/**
 * Large values by index, each within an epoch. The next epoch is created and filled while the current one is in use.
 * Readers switch when the record of the cells' places changes; then the old epoch is dropped as a whole. A reader does
 * not need the epoch, because an index belongs to one epoch.
 *
 * No call changes two cells atomically. An interrupted call has changed some of them; the caller repeats the whole
 * call. A late writer changes nothing: it writes the same bytes again, and a dropped epoch accepts no cells. To write
 * other bytes at an index, remove the cell first.
 *
 * The caller may reuse byte arrays that it passes in after the promise settles, not before. Returned byte arrays belong
 * to the caller. Every method throws MillraceError: E_INPUT for an invalid index or epoch; E_DISK_FULL, E_READ_ONLY and
 * E_STORE when the medium refuses, E_STORE after `close`.
 */
export interface Cells {
  /**
   * Creates an epoch, unless it exists or was dropped. An epoch without cells may be lost when the store is opened
   * again, so writers create the epoch first.
   */
  create(epoch: number): Promise<void>;
  /**
   * Writes cells; durable when it resolves. Omits cells of dropped epochs.
   * @throws {MillraceError} E_STATE for an epoch that was never created; nothing is then written
   */
  put(cells: readonly NewCell[]): Promise<void>;
  /**
   * Sees every write that was acknowledged before the call.
   * @param epoch if given, a cell of another epoch may be missed: a store that keeps epochs apart looks in this one only
   */
  get(index: CellIndex, epoch?: number): Promise<Cell | undefined>;
  /**
   * Heads of the cells at these indexes, in the same order. Avoids reading bodies from the medium where possible.
   * @param epoch as in `get`
   */
  heads(indexes: readonly CellIndex[], epoch?: number): Promise<(CellHead | undefined)[]>;
  /**
   * Heads in index order. Includes every cell of the range once, except cells written or removed meanwhile. Not a
   * snapshot.
   */
  outline(range?: IndexRange): AsyncIterable<CellHead>;
  /**
   * Removes cells; durable when it resolves. An absent cell is not an error.
   * @param epoch if given, a cell of another epoch may be left
   */
  remove(indexes: readonly CellIndex[], epoch?: number): Promise<void>;
  /**
   * Drops an epoch and every earlier one with all their cells; durable when it resolves. If another process, or a write
   * after a restart, still adds a cell to a dropped epoch, the next call removes it. A store may remove the cells beside
   * later calls: another process may then still find them for a moment. If that fails, the next call removes them, or
   * throws.
   */
  drop(epoch: number): Promise<void>;
  close(): Promise<void>;
}
