import { toHex } from '@millrace/base';

/** Most requests that wait for their cells to be stored. The oldest are forgotten: their cells are stored again. */
const MOST = 1_024;

/** The epochs in which segments nodes were told to store cells, until they report that they have. */
export class GivenPlaces {
  /** By node, design and first segment. */
  readonly #epochs = new Map<string, readonly number[]>();

  note(node: string, design: Uint8Array, from: number, cells: readonly { readonly epoch: number }[]): void {
    const key = keyOf(node, design, from);
    this.#epochs.delete(key);
    this.#epochs.set(
      key,
      cells.map(({ epoch }) => epoch),
    );
    const [oldest] = this.#epochs.keys();
    if (this.#epochs.size > MOST && oldest !== undefined) this.#epochs.delete(oldest);
  }

  /** Forgets these cells. @returns whether this node was told to store each in the epoch where it belongs now */
  take(
    node: string,
    { design, from, count }: { readonly design: Uint8Array; readonly from: number; readonly count: number },
    epochOf: (cell: number) => number,
  ): boolean {
    const key = keyOf(node, design, from);
    const epochs = this.#epochs.get(key);
    this.#epochs.delete(key);
    return epochs?.length === count && epochs.every((epoch, i) => epoch === epochOf(i));
  }
}

const keyOf = (node: string, design: Uint8Array, from: number): string => `${node}/${toHex(design)}/${from}`;
