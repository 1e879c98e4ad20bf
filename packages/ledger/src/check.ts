import { type Bytes, equalBytes, toBase64, toMillraceError } from '@millrace/base';
import { checkAccounts } from './check-accounts.ts';
import { checkMap } from './check-map.ts';
import { checkTiles } from './check-tiles.ts';
import { openCheckpoint, type VerifiedCheckpoint } from './checkpoint.ts';
import { checkpointKey, decodeIndex, entryPrefix, under } from './keys.ts';
import { parseVerifierKey } from './note.ts';
import { type LedgerProblem, ProblemList } from './problems.ts';
import { Replay } from './replay.ts';
import type { LedgerStore } from './store.ts';
import { TILE_WIDTH, tilePath } from './tiles.ts';
import type { CompactRange } from './tree.ts';

export interface LedgerCheckOptions {
  /** Signed checkpoints seen before (from a witness or a certificate). The log must extend each of them. */
  readonly seen?: readonly Uint8Array[];
  readonly onProgress?: (entries: number, total: number) => void;
  readonly signal?: AbortSignal;
}

export interface CheckReport {
  readonly ok: boolean;
  /** Size in the checkpoint; undefined without a valid checkpoint. */
  readonly size: number | undefined;
  readonly root: Bytes | undefined;
  /** Number of entries found. */
  readonly entries: number;
  readonly accounts: number;
  /** Causes before consequences; at most 100. */
  readonly problems: readonly LedgerProblem[];
  /** Number of problems beyond those listed. */
  readonly more: number;
}

/**
 * Replays a whole log: checks every entry, opening, tile, index and account chain against the signed checkpoint. Writes
 * nothing and needs only the log's verifier key, so it also works if `openLedger` fails. It cannot detect a store that
 * was restored as a whole to an earlier state: for that, pass a later checkpoint in `seen`.
 * @throws {MillraceError} E_INPUT for an invalid key; errors of the store. Damage is reported, not thrown
 */
export async function checkLedger(
  options: LedgerCheckOptions & { readonly store: LedgerStore; readonly logKey: string | readonly string[] },
): Promise<CheckReport> {
  const { store, signal } = options;
  const logKey = [options.logKey].flat().map(parseVerifierKey);
  const problems = new ProblemList();
  const bytes = await store.get(checkpointKey);
  const open = (checkpoint: Uint8Array, what: string): VerifiedCheckpoint | undefined => {
    try {
      return openCheckpoint(checkpoint, { logKey });
    } catch (error) {
      problems.add('E_LEDGER_CHECKPOINT', 'checkpoint', `${what}: ${toMillraceError(error).message}`);
      return undefined;
    }
  };
  if (bytes === undefined) problems.add('E_LEDGER_CHECKPOINT', 'checkpoint', 'the checkpoint is missing');
  const checkpoint = bytes === undefined ? undefined : open(bytes, 'stored checkpoint');
  const seen = (options.seen ?? []).flatMap((note, i) => open(note, `checkpoint seen before (${i})`) ?? []);

  const replay = new Replay(store, checkpoint?.size, new Set(seen.map((known) => known.size)));
  for await (const { key, value } of store.range(under(entryPrefix))) {
    signal?.throwIfAborted();
    const index = decodeIndex(key.subarray(entryPrefix.length));
    if (index === undefined) {
      problems.add('E_LEDGER_ENTRY', 'entry', 'an entry is stored under a key that is not an index');
      continue;
    }
    await replay.entry(index, value);
    if (index % 4096 === 0) options.onProgress?.(index, checkpoint?.size ?? index);
  }
  await replay.end();
  options.onProgress?.(replay.found, checkpoint?.size ?? replay.found);

  reportEntries(replay, checkpoint, problems);
  for (const known of seen) reportSeen(replay, known, problems);
  await checkTiles(store, replay, problems);
  problems.addAll(replay.openingProblems);
  const accounts = await checkAccounts(store, replay, problems);
  await checkMap(store, replay, problems);
  return {
    ok: problems.total === 0,
    size: checkpoint?.size,
    root: checkpoint?.root,
    entries: replay.found,
    accounts,
    problems: problems.list,
    more: problems.total - problems.list.length,
  };
}

function reportEntries(replay: Replay, checkpoint: VerifiedCheckpoint | undefined, problems: ProblemList): void {
  for (const { from, to } of replay.missing) {
    const which = from === to ? `entry ${from} is missing` : `entries ${from} to ${to} are missing`;
    const after = checkpoint === undefined ? '' : `: the checkpoint counts ${checkpoint.size}`;
    problems.add('E_LEDGER_TRUNCATED', 'entry', which + after, { index: from });
  }
  if (checkpoint !== undefined && replay.beyond > 0) {
    const message = `the checkpoint is older than the log: it counts ${checkpoint.size} entries, and ${replay.beyond} more are stored`;
    problems.add('E_LEDGER_CHECKPOINT', 'checkpoint', message);
  }
  const entriesHold =
    checkpoint !== undefined && replay.missing.length === 0 && sameRoot(replay.fromEntries, checkpoint);
  const tilesHold = checkpoint !== undefined && sameRoot(replay.fromTiles, checkpoint);
  for (const index of replay.differing) {
    const path = tilePath({ kind: 'hashes', level: 0, index: Math.floor(index / TILE_WIDTH), width: TILE_WIDTH });
    if (entriesHold) {
      problems.add('E_LEDGER_ENTRY', 'tile', `${path} was changed: it holds another hash for entry ${index}`, {
        index,
        path,
      });
    } else {
      const witness = tilesHold ? 'its tile and the checkpoint confirm' : 'its tile holds';
      problems.add('E_LEDGER_ENTRY', 'entry', `entry ${index} was changed: ${witness} another hash`, { index });
    }
  }
  if (checkpoint === undefined || entriesHold || tilesHold || replay.missing.length > 0) return;
  if (replay.differing.length === 0 && replay.fromEntries.size === checkpoint.size) {
    const message = `entries, and tiles with them, were changed: they lead to the root ${toBase64(replay.fromEntries.root())}, the checkpoint states ${toBase64(checkpoint.root)}`;
    problems.add('E_LEDGER_ENTRY', 'entry', message);
  }
}

function reportSeen(replay: Replay, seen: VerifiedCheckpoint, problems: ProblemList): void {
  const root = replay.rootsSeen.get(seen.size);
  if (root !== undefined && equalBytes(root, seen.root)) return;
  if (root === undefined) {
    const message = `a checkpoint seen before counts ${seen.size} entries, which the log does not have whole`;
    problems.add('E_LEDGER_TRUNCATED', 'checkpoint', message);
  } else {
    const message = `the log does not extend a checkpoint seen before: its first ${seen.size} entries were other ones`;
    problems.add('E_LEDGER_ENTRY', 'checkpoint', message);
  }
}

function sameRoot(range: CompactRange, checkpoint: VerifiedCheckpoint): boolean {
  return range.size === checkpoint.size && equalBytes(range.root(), checkpoint.root);
}
