import { type Bytes, copyBytes, MillraceError } from '@millrace/base';
import { tileKey } from './keys.ts';
import type { LedgerStore, StoreWrite } from './store.ts';
import { TILE_HEIGHT, TILE_WIDTH, tileHashes, tileNodes, tilePath } from './tiles.ts';
import { emptyRoot, HASH_LENGTH, nodeHash, nodesAbove } from './tree.ts';

const TILE_BYTES = TILE_WIDTH * HASH_LENGTH;

/** The right edge of the tree: by level, the hash of the perfect subtree of that size, if the tree has one there. */
type Edge = readonly (Bytes | undefined)[];

/**
 * The part of the tree that an appender needs: the right edge, and the last tile of every level. Immutable: `extend`
 * returns the next state and its writes, so that a failed batch changes nothing.
 */
export class Growth {
  readonly size: number;
  readonly #edge: Edge;
  /** Hashes of the unfinished tile of each level, as they are stored. */
  readonly #tips: readonly Uint8Array[];

  private constructor(size: number, edge: Edge, tips: readonly Uint8Array[]) {
    this.size = size;
    this.#edge = edge;
    this.#tips = tips;
  }

  static empty(): Growth {
    return new Growth(0, [], []);
  }

  /**
   * Loads the state from the stored tiles.
   * @throws {MillraceError} E_LEDGER_TRUNCATED with a tile that is missing or short, E_LEDGER_CHECKPOINT if a tile
   *   holds more than a tree of `size` entries
   */
  static async load(store: LedgerStore, size: number): Promise<Growth> {
    const readTile = (level: number, index: number) => store.get(tileKey(level, index));
    const read = tileNodes(readTile);
    const edge: (Bytes | undefined)[] = [];
    for (let width = size; width > 0; width = Math.floor(width / 2)) {
      const level = edge.length;
      edge.push(width % 2 === 1 ? copyBytes(await read(level, width - 1)) : undefined);
    }
    const tips: Uint8Array[] = [];
    for (let level = 0; tileHashes(level, size) > 0; level++) {
      const index = Math.floor(tileHashes(level, size) / TILE_WIDTH);
      const width = tileHashes(level, size) % TILE_WIDTH;
      const tip = copyBytes((await readTile(level, index)) ?? new Uint8Array(0));
      const path = tilePath({ kind: 'hashes', level, index, width: width === 0 ? TILE_WIDTH : width });
      const hashes = Math.floor(tip.length / HASH_LENGTH);
      if (hashes < width) {
        throw new MillraceError('E_LEDGER_TRUNCATED', `${path} is missing or too short`, { data: { path } });
      }
      if (hashes > width) {
        throw new MillraceError(
          'E_LEDGER_CHECKPOINT',
          `${path} has more hashes: the checkpoint is older than the log`,
          {
            data: { path, size },
          },
        );
      }
      tips.push(tip.subarray(0, width * HASH_LENGTH));
    }
    return new Growth(size, edge, tips);
  }

  root(): Bytes {
    const [last, ...larger] = this.#edge.filter((hash) => hash !== undefined);
    if (last === undefined) return emptyRoot();
    return larger.reduce((right, left) => nodeHash(left, right), last);
  }

  /**
   * Hashes row by row, because an array for each hash would cost more than hashing.
   * @param leaves their hashes, one after the other
   */
  extend(leaves: Bytes): { readonly next: Growth; readonly writes: readonly StoreWrite[] } {
    const edge = [...this.#edge];
    const tips = [...this.#tips];
    const writes: StoreWrite[] = [];
    let first = this.size;
    let row = leaves;
    for (let level = 0; row.length > 0; level++) {
      if (level % TILE_HEIGHT === 0) tips[level / TILE_HEIGHT] = addToTiles(level / TILE_HEIGHT, first, row, writes);
      const left = first % 2 === 1 ? edge[level] : undefined;
      if (first % 2 === 1 && left === undefined) throw new RangeError('the right edge does not match its size');
      const end = first + row.length / HASH_LENGTH;
      edge[level] = end % 2 === 1 ? row.slice(-HASH_LENGTH) : undefined;
      row = nodesAbove(left, row);
      first = Math.floor(first / 2);
    }
    return { next: new Growth(this.size + leaves.length / HASH_LENGTH, edge, tips), writes };

    /** @returns the unfinished tile after these hashes, which begin at `from` in their level */
    function addToTiles(level: number, from: number, hashes: Bytes, into: StoreWrite[]): Uint8Array {
      let index = Math.floor(from / TILE_WIDTH);
      let width = (from % TILE_WIDTH) * HASH_LENGTH;
      let tile = new Uint8Array(TILE_BYTES);
      tile.set(tips[level] ?? [], 0);
      for (let at = 0; at < hashes.length; ) {
        const some = hashes.subarray(at, at + TILE_BYTES - width);
        tile.set(some, width);
        [at, width] = [at + some.length, width + some.length];
        if (width < TILE_BYTES) break;
        into.push({ put: tileKey(level, index++), value: tile });
        [tile, width] = [new Uint8Array(TILE_BYTES), 0];
      }
      const tip = tile.subarray(0, width);
      if (width > 0) into.push({ put: tileKey(level, index), value: tip });
      return tip;
    }
  }
}
