import { equalBytes, fromBase64, fromHex, MillraceError, toHex } from '@millrace/base';
import {
  type AccountHead,
  CompactRange,
  decodeBundle,
  decodeOpening,
  followAccount,
  type LoggedEvent,
  leafHash,
  openCheckpoint,
  parseVerifierKey,
  TILE_WIDTH,
  tilePath,
} from '@millrace/ledger';
import { logKeysOf } from '@millrace/protocol';
import { OwnObjects } from './audit-objects.ts';
import type { Session } from './session.ts';

const SEEN = 'ledger.checkpoint';

export interface AuditResult {
  readonly log: string;
  readonly size: number;
  readonly root: string;
  /** Accounts that this user may read. */
  readonly accounts: number;
  /** Entries that control opened for this user. */
  readonly opened: number;
  /** Size of the log that this user saw last. The log still extends it. */
  readonly seen: number | undefined;
  /** Objects under this user's licences, each with all its signed documents. */
  readonly objects: number;
}

/**
 * Downloads the whole log and recomputes it against its signed checkpoint, and against the one that this user saw last.
 * This detects a changed entry, a shortened log and a second history without trusting the control node. Entries are
 * commitments; the user opens those of the accounts that it may read, and checks their chains. Then it verifies the
 * documents of all objects under this user's licences, which detects objects that were not ordered, requested or made.
 * An object whose openings control withholds is not detected.
 * @throws {MillraceError} E_LEDGER_CHECKPOINT, E_LEDGER_TRUNCATED, E_LEDGER_ENTRY, E_LEDGER_PROOF, E_EVIDENCE
 */
export async function auditLedger(
  session: Session,
  progress: (done: number, total: number) => void,
  onEvent: (logged: LoggedEvent) => void = () => undefined,
): Promise<AuditResult> {
  const { api, storage, directory, clock } = session;
  // Only currently valid keys may sign now. A checkpoint seen earlier may be signed by any key that was ever valid.
  const logKey = logKeysOf(directory, clock.now()).map(parseVerifierKey);
  const everKeys = logKeysOf(directory).map(parseVerifierKey);
  const bytes = await api.checkpoint();
  const checkpoint = openCheckpoint(bytes, { logKey });
  const seenBytes = await storage.read(SEEN);
  const seen = seenBytes === undefined ? undefined : openCheckpoint(seenBytes, { logKey: everKeys });
  if (seen !== undefined && seen.size > checkpoint.size) {
    throw new MillraceError(
      'E_LEDGER_TRUNCATED',
      `the log has ${checkpoint.size} entries; it had ${seen.size} when it was last verified`,
    );
  }

  const range = new CompactRange();
  const accounts = new Map<string, AccountHead>();
  const objects = new OwnObjects(directory.installation, {
    owner: session.signer.publicKey,
    authority: fromHex(directory.adminKey),
  });
  const requireSeen = (size: number) => {
    if (size !== seen?.size || equalBytes(range.root(), seen.root)) return;
    throw new MillraceError('E_LEDGER_PROOF', `the first ${size} entries are not those that were verified before`);
  };
  requireSeen(0);
  const openings = readOpenings(session, checkpoint.size);
  let opening = await openings.next();
  let opened = 0;
  for (let first = 0; first < checkpoint.size; first += TILE_WIDTH) {
    const width = Math.min(TILE_WIDTH, checkpoint.size - first);
    const bundle = decodeBundle(await api.tile(tilePath({ kind: 'entries', index: first / TILE_WIDTH, width })));
    if (bundle.length !== width) {
      throw new MillraceError('E_LEDGER_TRUNCATED', `the log ends before entry ${first + bundle.length}`);
    }
    for (const [offset, entry] of bundle.entries()) {
      range.push(leafHash(entry));
      requireSeen(first + offset + 1);
      if (opening.done || opening.value.index !== first + offset) continue;
      const logged = opening.value;
      if (!equalBytes(logged.entry, entry)) {
        throw new MillraceError('E_LEDGER_ENTRY', `control opens entry ${logged.index} to what it does not commit to`);
      }
      const { account } = logged.event;
      accounts.set(account, followAccount(accounts.get(account), logged));
      objects.take(logged);
      onEvent(logged);
      opened += 1;
      opening = await openings.next();
    }
    progress(first + width, checkpoint.size);
  }
  if (!equalBytes(range.root(), checkpoint.root)) {
    throw new MillraceError('E_LEDGER_ENTRY', 'the entries do not lead to the root of the signed checkpoint');
  }
  const proven = await objects.verify();
  await storage.replace(SEEN, bytes);
  return {
    log: checkpoint.origin,
    size: checkpoint.size,
    root: toHex(checkpoint.root),
    accounts: accounts.size,
    opened,
    seen: seen?.size,
    objects: proven,
  };
}

/** Control's openings for the user among the first `size` entries, in the order of the log. */
async function* readOpenings({ api }: Session, size: number): AsyncGenerator<LoggedEvent, undefined> {
  let last = -1;
  let cursor: string | undefined;
  do {
    const page = await api.openings(cursor);
    for (const { index, opening } of page.items) {
      if (index <= last)
        throw new MillraceError('E_LEDGER_ENTRY', 'control opens entries in another order than the log');
      if (index >= size) return;
      last = index;
      yield decodeOpening(fromBase64(opening), index);
    }
    cursor = page.next;
  } while (cursor !== undefined);
}
