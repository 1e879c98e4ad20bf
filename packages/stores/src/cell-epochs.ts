import { MillraceError } from '@millrace/base';

/** Which epochs a store of cells has, as far as this process knows, and how many cells are in each. */
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

  /** Replaces a cell of one epoch by a cell of another; undefined stands for none. */
  count(before: number | undefined, after: number | undefined): void {
    if (before !== undefined) this.#cells.set(before, (this.#cells.get(before) ?? 0) - 1);
    if (after !== undefined) this.#cells.set(after, (this.#cells.get(after) ?? 0) + 1);
  }

  /** From now on this epoch and all before it take no cells. */
  close(epoch: number): void {
    this.#dropped = Math.max(this.#dropped, epoch);
  }

  /** Whether closed epochs have cells left. */
  hasClosed(): boolean {
    for (const [epoch, cells] of this.#cells) if (epoch <= this.#dropped && cells > 0) return true;
    return false;
  }

  isClosed(epoch: number): boolean {
    return epoch <= this.#dropped;
  }

  /** Forgets closed epochs, whose cells are gone. */
  prune(): void {
    for (const [epoch, cells] of this.#cells) if (epoch <= this.#dropped && cells === 0) this.#cells.delete(epoch);
  }
}
