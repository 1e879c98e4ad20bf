import { type Bytes, equalBytes, MillraceError, toHex } from '@millrace/base';
import {
  CompactRange,
  consistencyProof,
  decodeBundle,
  leafHash,
  openCheckpoint,
  requestCosignature,
  TILE_WIDTH,
  type TileReader,
  tileHashes,
  tileNodes,
  tilePath,
  treeRoot,
  type VerifiedCheckpoint,
  type VerifierKey,
} from '@millrace/ledger';

/** A log served as by C2SP tlog-tiles. */
export interface LogSource {
  checkpoint(): Promise<Uint8Array>;
  /** @param path `tile/…` @throws {MillraceError} if the log does not serve it */
  tile(path: string): Promise<Uint8Array>;
}

export interface MonitoredWitness {
  /** Verifier key, type 0x04. */
  readonly key: VerifierKey;
  /** Sends the body of an add-checkpoint request. */
  post(body: Uint8Array): Promise<{ readonly status: number; readonly body: Uint8Array }>;
}

export interface FollowOptions {
  readonly source: LogSource;
  /** Verifier keys, type 0x01. Several if the log's key was rotated. */
  readonly logKeys: readonly VerifierKey[];
  /** Stores the last verified checkpoint, and evidence. */
  readonly storage: {
    read(path: string): Promise<Bytes | undefined>;
    replace(path: string, bytes: Uint8Array): Promise<void>;
  };
  readonly witnesses?: readonly MonitoredWitness[];
  /** Signed checkpoints that were shown to others, for example in certificates. */
  readonly others?: readonly Uint8Array[];
}

export interface Followed {
  readonly origin: string;
  readonly size: number;
  /** 32 bytes in hexadecimal. */
  readonly root: string;
  /** Size at the previous check; undefined at the first. */
  readonly before: number | undefined;
  /** Names of the witnesses that signed this checkpoint, now or in the published one. */
  readonly witnesses: readonly string[];
  /** Problems that are no alarm but left something unchecked, such as a witness that does not answer. */
  readonly unchecked: readonly string[];
}

const LAST = 'checkpoint';

/**
 * Checks the log once. The new checkpoint must extend the previous one, entry by entry; checkpoints shown to others
 * must be on the same history; witnesses must agree. The state changes only if all of this holds, so a later check
 * raises the same alarm again.
 * @throws {MillraceError} E_LEDGER_PROOF: two histories (the checkpoints are kept as evidence); E_LEDGER_TRUNCATED: the
 *   log is shorter than before, or than a witness knows it; E_LEDGER_ENTRY: entries do not match the checkpoint;
 *   E_LEDGER_CHECKPOINT: a checkpoint that the log did not sign. Errors of `source` if the log does not answer.
 */
export async function followLog(options: FollowOptions): Promise<Followed> {
  const { source, logKeys, storage, witnesses = [], others = [] } = options;
  const trust = { logKey: logKeys, witnesses: witnesses.map(({ key }) => key) };
  const bytes = await source.checkpoint();
  const now = openCheckpoint(bytes, trust);
  const lastBytes = await storage.read(LAST);
  const last = lastBytes === undefined ? undefined : openCheckpoint(lastBytes, { logKey: logKeys });
  const twoHistories = async (text: string, other?: Uint8Array) => {
    await storage.replace('evidence/shown.checkpoint', bytes);
    if (other !== undefined) await storage.replace('evidence/other.checkpoint', other);
    return new MillraceError('E_LEDGER_PROOF', `${text}: the log has two histories (see the folder evidence)`, {
      data: { size: now.size },
    });
  };

  if (last !== undefined && lastBytes !== undefined) {
    if (last.size > now.size)
      throw new MillraceError('E_LEDGER_TRUNCATED', `the log has ${now.size} entries; it had ${last.size} before`, {
        data: { size: now.size, before: last.size },
      });
    if (!(await liesOn(last, now, source)))
      throw await twoHistories(`the checkpoint of size ${now.size} does not extend the one of ${last.size}`, lastBytes);
  }
  await readEntries(last?.size ?? 0, now, source);
  for (const other of others) {
    const shown = openCheckpoint(other, { logKey: logKeys });
    if (shown.size > now.size)
      throw new MillraceError(
        'E_LEDGER_TRUNCATED',
        `the log has ${now.size} entries; somebody was shown a checkpoint of ${shown.size}`,
        { data: { size: now.size, shown: shown.size } },
      );
    if (!(await liesOn(shown, now, source)))
      throw await twoHistories(`somebody was shown another checkpoint of size ${shown.size}`, other);
  }
  const agreed = await askWitnesses(bytes, now, options, twoHistories);
  await storage.replace(LAST, bytes);
  return { origin: now.origin, size: now.size, root: toHex(now.root), before: last?.size, ...agreed };
}

/**
 * Whether the tree of `now` extends that of `earlier`, by the tiles that the log serves.
 * @throws {MillraceError} E_LEDGER_ENTRY if the tiles are not those of `now`
 */
async function liesOn(earlier: VerifiedCheckpoint, now: VerifiedCheckpoint, source: LogSource): Promise<boolean> {
  const read = tileNodes(tilesFrom(source, now.size));
  if (!equalBytes(await treeRoot(now.size, read), now.root))
    throw new MillraceError('E_LEDGER_ENTRY', 'the tiles do not lead to the root of the signed checkpoint');
  return equalBytes(await treeRoot(earlier.size, read), earlier.root);
}

/**
 * Checks that every entry is present and that all together give the root.
 * @throws {MillraceError} E_LEDGER_ENTRY, E_LEDGER_TRUNCATED
 */
async function readEntries(from: number, now: VerifiedCheckpoint, source: LogSource): Promise<void> {
  const range = await CompactRange.load(from, tileNodes(tilesFrom(source, now.size)));
  for (let next = from; next < now.size; ) {
    const index = Math.floor(next / TILE_WIDTH);
    const width = Math.min(TILE_WIDTH, now.size - index * TILE_WIDTH);
    const entries = decodeBundle(await source.tile(tilePath({ kind: 'entries', index, width })));
    if (entries.length !== width)
      throw new MillraceError('E_LEDGER_TRUNCATED', `the log ends before entry ${index * TILE_WIDTH + width - 1}`);
    for (const entry of entries.slice(next - index * TILE_WIDTH)) range.push(leafHash(entry));
    next = index * TILE_WIDTH + width;
  }
  if (equalBytes(range.root(), now.root)) return;
  throw new MillraceError('E_LEDGER_ENTRY', 'the entries do not lead to the root of the signed checkpoint');
}

async function askWitnesses(
  bytes: Uint8Array,
  now: VerifiedCheckpoint,
  { source, witnesses = [] }: FollowOptions,
  twoHistories: (text: string) => Promise<MillraceError>,
): Promise<{ readonly witnesses: string[]; readonly unchecked: string[] }> {
  const signed = new Set(now.cosignatures.map(({ name }) => name));
  const unchecked: string[] = [];
  const read = tileNodes(tilesFrom(source, now.size));
  for (const { key, post } of witnesses) {
    if (signed.has(key.name)) continue;
    try {
      const prove = (old: number) => consistencyProof(old, now.size, read);
      const answer = await requestCosignature({ witness: key, checkpoint: bytes, old: 0, prove, post });
      if (answer.outcome === 'signed') {
        signed.add(key.name);
        continue;
      }
      if (answer.outcome === 'conflict')
        throw await twoHistories(`the witness ${key.name} has signed another head of size ${answer.size}`);
      throw new MillraceError(
        'E_LEDGER_TRUNCATED',
        `the log shows ${now.size} entries here; the witness ${key.name} has signed ${answer.size}`,
        { data: { size: now.size, witnessed: answer.size } },
      );
    } catch (error) {
      if (error instanceof MillraceError && !alarms.has(error.code)) unchecked.push(`${key.name}: ${error.message}`);
      else throw error;
    }
  }
  return { witnesses: [...signed], unchecked };
}

/** Errors that are alarms. A witness that does not answer is not. */
const alarms: ReadonlySet<string> = new Set(['E_LEDGER_PROOF', 'E_LEDGER_TRUNCATED', 'E_LEDGER_ENTRY']);

/** Reads tiles with the widths that they have in a tree of `size` entries. */
function tilesFrom(source: LogSource, size: number): TileReader {
  return async (level, index) => {
    const width = Math.min(TILE_WIDTH, tileHashes(level, size) - index * TILE_WIDTH);
    return width <= 0 ? undefined : source.tile(tilePath({ kind: 'hashes', level, index, width }));
  };
}
