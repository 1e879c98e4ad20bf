import { type Bytes, MillraceError } from '@millrace/base';
import type { LogSource } from '@millrace/client';
import {
  decodeBundle,
  inclusionProof,
  leafHash,
  openCheckpoint,
  parseVerifierKey,
  TILE_WIDTH,
  tileHashes,
  tileNodes,
  tilePath,
  type VerifiedCheckpoint,
  verifyInclusion,
} from '@millrace/ledger';

export interface LogTrust {
  /** Verifier keys of the log. */
  readonly logKeys: readonly string[];
  /** Verifier keys of witnesses, type 0x04. */
  readonly witnesses: readonly string[];
}

export interface LogEntry {
  readonly index: number;
  readonly entry: Bytes;
  /** RFC 6962 leaf hash. */
  readonly leaf: Bytes;
}

export interface ProvenEntry extends LogEntry {
  readonly head: VerifiedCheckpoint;
  /** Audit path, the sibling of the leaf first. */
  readonly path: readonly Bytes[];
}

/** The newest head. @throws {MillraceError} E_LEDGER_CHECKPOINT unless the log has signed it */
export async function readHead(source: LogSource, { logKeys, witnesses }: LogTrust): Promise<VerifiedCheckpoint> {
  return openCheckpoint(await source.checkpoint(), {
    logKey: logKeys.map(parseVerifierKey),
    witnesses: witnesses.map(parseVerifierKey),
  });
}

/** The last entries of a head, the newest first: those of the last bundle, at most `count`. */
export async function newestEntries(source: LogSource, size: number, count: number): Promise<LogEntry[]> {
  if (size === 0) return [];
  const index = Math.floor((size - 1) / TILE_WIDTH);
  const entries = await readBundle(source, index, size);
  return entries.slice(-count).reverse();
}

/**
 * Reads an entry and proves from the tiles that it is in the newest head.
 * @throws {MillraceError} E_NOT_FOUND, E_LEDGER_CHECKPOINT, E_LEDGER_ENTRY; E_LEDGER_PROOF if the path does not lead to
 *   the root that the log has signed
 */
export async function proveEntry(source: LogSource, number: number, trust: LogTrust): Promise<ProvenEntry> {
  const head = await readHead(source, trust);
  const { size, root } = head;
  if (!Number.isSafeInteger(number) || number < 0 || number >= size)
    throw new MillraceError('E_NOT_FOUND', `there is no such entry: the log has ${size}`, { data: { size } });
  const bundle = Math.floor(number / TILE_WIDTH);
  const found = (await readBundle(source, bundle, size))[number - bundle * TILE_WIDTH];
  if (found === undefined) throw new MillraceError('E_LEDGER_ENTRY', `the log does not serve entry ${number}`);
  const nodes = tileNodes((level, index) => {
    const width = Math.min(TILE_WIDTH, tileHashes(level, size) - index * TILE_WIDTH);
    return source.tile(tilePath({ kind: 'hashes', level, index, width }));
  });
  const path = await inclusionProof(number, size, nodes);
  if (!verifyInclusion(found.leaf, number, size, path, root))
    throw new MillraceError('E_LEDGER_PROOF', `entry ${number} is not in the tree whose root the log has signed`);
  return { ...found, head, path };
}

async function readBundle(source: LogSource, index: number, size: number): Promise<LogEntry[]> {
  const width = Math.min(TILE_WIDTH, size - index * TILE_WIDTH);
  const entries = decodeBundle(await source.tile(tilePath({ kind: 'entries', index, width })));
  if (entries.length !== width)
    throw new MillraceError('E_LEDGER_TRUNCATED', 'the log serves fewer entries than it signed');
  return entries.map((entry, at) => ({ index: index * TILE_WIDTH + at, entry, leaf: leafHash(entry) }));
}
