import { type Bytes, concatBytes, copyBytes, MillraceError } from '@millrace/base';
import { CompactRange, HASH_LENGTH, type NodeReader } from './tree.ts';

/** Number of hashes in a full tile and of entries in a full bundle (C2SP tlog-tiles). */
export const TILE_WIDTH = 256;
export const TILE_HEIGHT = 8;

/** Maximum entry in an entry bundle, bytes. */
export const MAX_ENTRY_LENGTH = 65_535;

/** Highest tile level of the specification. A log of 2^53 entries reaches level 6. */
const MAX_LEVEL = 63;

/** A tile or entry bundle by name; a full one has width 256. */
export type TileName =
  | { readonly kind: 'hashes'; readonly level: number; readonly index: number; readonly width: number }
  | { readonly kind: 'entries'; readonly index: number; readonly width: number };

/** `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`. */
export function tilePath(name: TileName): string {
  const group = name.kind === 'entries' ? 'entries' : String(name.level);
  const partial = name.width === TILE_WIDTH ? '' : `.p/${name.width}`;
  return `tile/${group}/${formatIndex(name.index)}${partial}`;
}

const pathPattern = /^tile\/(entries|0|[1-9][0-9]?)\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/;

/** Undefined unless it is exactly a path of the specification. */
export function parseTilePath(path: string): TileName | undefined {
  const match = pathPattern.exec(path);
  if (match === null) return undefined;
  const [, group = '', digits = '', partial] = match;
  const index = Number(digits.replaceAll(/[x/]/g, ''));
  const width = partial === undefined ? TILE_WIDTH : Number(partial);
  if (!Number.isSafeInteger(index) || formatIndex(index) !== digits) return undefined;
  if (partial !== undefined && width >= TILE_WIDTH) return undefined;
  if (group === 'entries') return { kind: 'entries', index, width };
  return Number(group) > MAX_LEVEL ? undefined : { kind: 'hashes', level: Number(group), index, width };
}

/** Example: 1234067 is `x001/x234/067`. */
function formatIndex(index: number): string {
  const digits = String(index);
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0');
  const groups = padded.match(/.{3}/g) ?? [];
  return groups.map((group, position) => (position === groups.length - 1 ? group : `x${group}`)).join('/');
}

/** Number of hashes in level `level` of the tiles for a tree of `size` entries. */
export function tileHashes(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level);
}

/** Every tile of a tree of `size` entries, lowest level first; only the last of a level may be partial. */
export function* tilesOf(size: number): Generator<{ level: number; index: number; width: number }> {
  for (let level = 0; tileHashes(level, size) > 0; level++) {
    const hashes = tileHashes(level, size);
    for (let index = 0; index * TILE_WIDTH < hashes; index++) {
      yield { level, index, width: Math.min(TILE_WIDTH, hashes - index * TILE_WIDTH) };
    }
  }
}

/** The stored tile, at least as wide as required; undefined if it does not exist. */
export type TileReader = (level: number, index: number) => Promise<Uint8Array | undefined>;

/**
 * Computes the hash of any perfect subtree from tiles. Each tile is read once: create one reader per proof.
 * @throws {MillraceError} E_LEDGER_TRUNCATED with the tile that is missing or short
 */
export function tileNodes(readTile: TileReader): NodeReader {
  const tiles = new Map<string, Promise<Uint8Array | undefined>>();
  return async (level, index) => {
    const tileLevel = Math.floor(level / TILE_HEIGHT);
    const count = 2 ** (level % TILE_HEIGHT);
    const first = index * count;
    const tileIndex = Math.floor(first / TILE_WIDTH);
    const key = `${tileLevel}/${tileIndex}`;
    const pending = tiles.get(key) ?? readTile(tileLevel, tileIndex);
    tiles.set(key, pending);
    const tile = await pending;
    const from = (first % TILE_WIDTH) * HASH_LENGTH;
    if (tile === undefined || tile.length < from + count * HASH_LENGTH) {
      const path = tilePath({ kind: 'hashes', level: tileLevel, index: tileIndex, width: TILE_WIDTH });
      const state = tile === undefined ? 'is missing' : 'is too short';
      throw new MillraceError('E_LEDGER_TRUNCATED', `${path} ${state}`, { data: { path } });
    }
    return foldHashes(splitHashes(tile.subarray(from, from + count * HASH_LENGTH)));
  };
}

/** Root of a perfect subtree from its 1, 2, 4, … 256 hashes. */
export function foldHashes(hashes: readonly Uint8Array[]): Bytes {
  const range = new CompactRange();
  for (const hash of hashes) range.push(hash);
  return range.root();
}

/** The 32-byte hashes of a tile. A remainder is ignored. */
export function splitHashes(tile: Uint8Array): Bytes[] {
  return Array.from({ length: Math.floor(tile.length / HASH_LENGTH) }, (_, i) =>
    copyBytes(tile.subarray(i * HASH_LENGTH, (i + 1) * HASH_LENGTH)),
  );
}

/** Encodes entries, each after its length as a big-endian u16. */
export function encodeBundle(entries: readonly Uint8Array[]): Bytes {
  return concatBytes(
    ...entries.flatMap((entry) => {
      if (entry.length > MAX_ENTRY_LENGTH) throw new RangeError('an entry is longer than 65,535 bytes');
      return [Uint8Array.of(entry.length >> 8, entry.length & 0xff), entry];
    }),
  );
}

/** @throws {MillraceError} E_LEDGER_ENTRY unless the bytes are complete entries and nothing else */
export function decodeBundle(bundle: Uint8Array): Bytes[] {
  const entries: Bytes[] = [];
  for (let offset = 0; offset < bundle.length; ) {
    const length = (bundle[offset] ?? 0) * 256 + (bundle[offset + 1] ?? 0);
    const end = offset + 2 + length;
    if (end > bundle.length)
      throw new MillraceError('E_LEDGER_ENTRY', `entry bundle ends within entry ${entries.length}`);
    entries.push(copyBytes(bundle.subarray(offset + 2, end)));
    offset = end;
  }
  return entries;
}
