import { type Bytes, concatBytes, MillraceError } from '@millrace/base';
import { tileKey } from './keys.ts';
import type { LedgerStore, StoreWrite } from './store.ts';
import { splitHashes, TILE_HEIGHT, TILE_WIDTH, tileHashes, tileNodes, tilePath } from './tiles.ts';
import { CompactRange } from './tree.ts';

/** The unfinished tile of one level. */
interface Tip {
  readonly index: number;
  readonly hashes: readonly Bytes[];
}

/**
 * The part of the tree that an appender needs: the right edge, and the last tile of every level. Immutable: `extend`
 * returns the next state and its writes, so that a failed batch changes nothing.
 */
export class Growth {
  readonly #range: CompactRange;
  readonly #tips: readonly Tip[];

  private constructor(range: CompactRange, tips: readonly Tip[]) {
    this.#range = range;
    this.#tips = tips;
  }

  static empty(): Growth {
    return new Growth(new CompactRange(), []);
  }

  /**
   * Loads the state from the stored tiles.
   * @throws {MillraceError} E_LEDGER_TRUNCATED with a tile that is missing or short, E_LEDGER_CHECKPOINT if a tile
   *   holds more than a tree of `size` entries
   */
  static async load(store: LedgerStore, size: number): Promise<Growth> {
    const readTile = (level: number, index: number) => store.get(tileKey(level, index));
    const range = await CompactRange.load(size, tileNodes(readTile));
    const tips: Tip[] = [];
    for (let level = 0; tileHashes(level, size) > 0; level++) {
      const index = Math.floor(tileHashes(level, size) / TILE_WIDTH);
      const width = tileHashes(level, size) % TILE_WIDTH;
      const hashes = splitHashes((await readTile(level, index)) ?? new Uint8Array(0));
      const path = tilePath({ kind: 'hashes', level, index, width: width === 0 ? TILE_WIDTH : width });
      if (hashes.length < width) {
        throw new MillraceError('E_LEDGER_TRUNCATED', `${path} is missing or too short`, { data: { path } });
      }
      if (hashes.length > width) {
        throw new MillraceError(
          'E_LEDGER_CHECKPOINT',
          `${path} has more hashes: the checkpoint is older than the log`,
          {
            data: { path, size },
          },
        );
      }
      tips.push({ index, hashes });
    }
    return new Growth(range, tips);
  }

  get size(): number {
    return this.#range.size;
  }

  root(): Bytes {
    return this.#range.root();
  }

  extend(leaves: readonly Uint8Array[]): { readonly next: Growth; readonly writes: readonly StoreWrite[] } {
    const range = this.#range.clone();
    const tips = this.#tips.map((tip) => ({ index: tip.index, hashes: [...tip.hashes], touched: false }));
    const writes: StoreWrite[] = [];
    for (const leaf of leaves) {
      range.push(leaf, (treeLevel, _index, hash) => {
        if (treeLevel % TILE_HEIGHT !== 0) return;
        const level = treeLevel / TILE_HEIGHT;
        const tip = tips[level] ?? { index: 0, hashes: [], touched: false };
        tips[level] = tip;
        tip.hashes.push(hash);
        tip.touched = true;
        if (tip.hashes.length < TILE_WIDTH) return;
        writes.push({ put: tileKey(level, tip.index), value: concatBytes(...tip.hashes) });
        tips[level] = { index: tip.index + 1, hashes: [], touched: false };
      });
    }
    for (const [level, tip] of tips.entries()) {
      if (tip.touched) writes.push({ put: tileKey(level, tip.index), value: concatBytes(...tip.hashes) });
    }
    return { next: new Growth(range, tips), writes };
  }
}
