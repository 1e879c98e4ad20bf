import type { Bytes } from '@millrace/base';

/** 1 to 64 bytes; byte order is sort order. An index belongs to one epoch: whoever writes makes sure of that. */
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
  /** Of the body, in bytes. */
  readonly length: number;
}

/** Indexes above `after`, up to `upto`; all of them without bounds. */
export interface IndexRange {
  readonly after?: CellIndex;
  readonly upto?: CellIndex;
}

/**
 * Large values by index, each within an epoch. The next epoch is created and filled beside the current one; what names
 * the places of cells switches readers to it; an old epoch is dropped as a whole. A reader needs no epoch: an index
 * belongs to one.
 *
 * No call changes two cells at once: a call that is cut short has changed some of them, and is repeated as a whole. What
 * a late writer does changes nothing: the same cell again is the same bytes, and a dropped epoch takes no cells. Whoever
 * wants other bytes at an index removes the cell first.
 *
 * Byte arrays passed in may be reused by the caller when the promise settles, not before; byte arrays handed out belong
 * to the caller. Every method throws MillraceError: E_INPUT for a wrong index or epoch; E_DISK_FULL, E_READ_ONLY and
 * E_STORE when the medium refuses, E_STORE after `close`.
 */
export interface Cells {
  /**
   * Creates an epoch, unless it exists or was dropped. An epoch that holds no cell may be gone when the store is opened
   * again: whoever writes creates it first.
   */
  create(epoch: number): Promise<void>;
  /**
   * Writes cells; durable when it resolves. Cells of epochs that were dropped are left out.
   * @throws {MillraceError} E_STATE for an epoch that was never created; then nothing is written
   */
  put(cells: readonly NewCell[]): Promise<void>;
  /** Sees every write that was acknowledged before the call. */
  get(index: CellIndex): Promise<Cell | undefined>;
  /** Heads of the cells at these indexes, in their order. No body is read from the medium where that can be avoided. */
  heads(indexes: readonly CellIndex[]): Promise<(CellHead | undefined)[]>;
  /**
   * Heads in the order of indexes: every cell of the range that is not written or removed meanwhile, once. Not a
   * snapshot.
   */
  outline(range?: IndexRange): AsyncIterable<CellHead>;
  /** Removes cells, whatever their epoch; durable when it resolves. An index without a cell is no error. */
  remove(indexes: readonly CellIndex[]): Promise<void>;
  /**
   * Drops an epoch and every earlier one with all of their cells; durable when it resolves. A cell that reaches a dropped
   * epoch all the same, from another process or after a restart, goes with the next call.
   */
  drop(epoch: number): Promise<void>;
  close(): Promise<void>;
}
