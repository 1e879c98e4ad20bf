import { MillraceError } from '@millrace/base';

/** The epochs of a cell store that this process knows, and the number of cells in each. */
export class CellEpochs {
  readonly #cells = new Map<number, number>();
  /** The newest epoch that was dropped. */
  #dropped = -1;

  create(epoch: number): void {
    if (epoch > this.#dropped) this.#cells.set(epoch, this.#cells.get(epoch) ?? 0);
  }

  /**
   * @returns false if the epoch was dropped
   * @throws {MillraceError} E_STATE if it was never created
   */
  takes(epoch: number): boolean {
    if (epoch <= this.#dropped) return false;
    if (this.#cells.has(epoch)) return true;
    throw new MillraceError('E_STATE', `epoch ${epoch} of the cells was not created`, { data: { epoch } });
  }

  /** Replaces a cell of one epoch by a cell of another; undefined stands for no cell. */
  count(before: number | undefined, after: number | undefined): void {
    if (before !== undefined) this.#cells.set(before, (this.#cells.get(before) ?? 0) - 1);
    if (after !== undefined) this.#cells.set(after, (this.#cells.get(after) ?? 0) + 1);
  }

  /** Closes this epoch and all earlier ones: they accept no more cells. */
  close(epoch: number): void {
    this.#dropped = Math.max(this.#dropped, epoch);
  }

  /** Whether closed epochs still have cells. */
  hasClosed(): boolean {
    for (const [epoch, cells] of this.#cells) if (epoch <= this.#dropped && cells > 0) return true;
    return false;
  }

  isClosed(epoch: number): boolean {
    return epoch <= this.#dropped;
  }

  /** Forgets closed epochs after their cells were removed. */
  prune(): void {
    for (const [epoch, cells] of this.#cells) if (epoch <= this.#dropped && cells === 0) this.#cells.delete(epoch);
  }
}
