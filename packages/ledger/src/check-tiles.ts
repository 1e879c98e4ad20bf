import { equalBytes } from '@millrace/base';
import { decodeIndex, tileKey, tilePrefix, under } from './keys.ts';
import type { ProblemList } from './problems.ts';
import type { Replay } from './replay.ts';
import type { LedgerStore } from './store.ts';
import { splitHashes, TILE_WIDTH, tileHashes, tilePath } from './tiles.ts';
import { HASH_LENGTH } from './tree.ts';

/** Checks that exactly the tiles of the tree exist, each no wider than required and consistent with the level below. */
export async function checkTiles(store: LedgerStore, replay: Replay, problems: ProblemList): Promise<void> {
  const size = replay.size ?? replay.fromTiles.size;
  for (const index of replay.missingTiles) {
    const path = tilePath({ kind: 'hashes', level: 0, index, width: widthOf(0, index, size) });
    problems.add('E_LEDGER_TRUNCATED', 'tile', `${path} is missing or too short`, { path });
  }
  for (const [row, hashes] of replay.upper.entries()) {
    const level = row + 1;
    for (let index = 0; index * TILE_WIDTH < hashes.length; index++) {
      const path = tilePath({ kind: 'hashes', level, index, width: widthOf(level, index, size) });
      const stored = splitHashes((await store.get(tileKey(level, index))) ?? new Uint8Array(0));
      const expected = hashes.slice(index * TILE_WIDTH, (index + 1) * TILE_WIDTH);
      const wrong = expected.findIndex((hash, i) => stored[i] === undefined || !equalBytes(hash, stored[i]));
      if (stored.length < expected.length) {
        problems.add('E_LEDGER_TRUNCATED', 'tile', `${path} is missing or too short`, { path });
      } else if (wrong >= 0) {
        const below = tilePath({ kind: 'hashes', level: row, index: index * TILE_WIDTH + wrong, width: TILE_WIDTH });
        problems.add('E_LEDGER_ENTRY', 'tile', `${path} was changed: hash ${wrong} is not that of ${below}`, { path });
      }
    }
  }
  for await (const { key, value } of store.range(under(tilePrefix))) {
    const level = key[tilePrefix.length] ?? 0;
    const index = decodeIndex(key.subarray(tilePrefix.length + 1));
    const width = index === undefined ? 0 : widthOf(level, index, size);
    if (index !== undefined && value.length <= width * HASH_LENGTH) continue;
    const path = tilePath({ kind: 'hashes', level, index: index ?? 0, width: TILE_WIDTH });
    problems.add('E_LEDGER_CHECKPOINT', 'tile', `${path} holds more than a log of ${size} entries has`, { path });
  }
}

/** Number of hashes of a tile in a tree of `size` entries; 0 if the tile does not exist. */
function widthOf(level: number, index: number, size: number): number {
  return Math.max(0, Math.min(TILE_WIDTH, tileHashes(level, size) - index * TILE_WIDTH));
}
