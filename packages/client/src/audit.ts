import { fromHex, MillraceError, toHex } from '@millrace/base';
import { type LoggedEvent, openCheckpoint, parseVerifierKey } from '@millrace/ledger';
import { logKeysOf } from '@millrace/protocol';
import { MapAudit } from './audit-map.ts';
import { NewestEvents } from './audit-newest.ts';
import { OwnObjects } from './audit-objects.ts';
import { type Head, LogReader } from './audit-reader.ts';
import { ownParty } from './people.ts';
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
  /**
   * Entries that the newest logged root of the account map covers. It was recomputed, which needs every opening;
   * undefined if this user may not read all accounts, or no root is logged.
   */
  readonly map: number | undefined;
  /** Accounts whose newest event is the one that control opened, proven by the logged map of accounts. */
  readonly newest: number;
  /** Objects of this user's licences that are proven not to exist: numbers that nobody has ordered. */
  readonly absent: number;
}

/**
 * Downloads the whole log and recomputes it against its signed checkpoint, and against the one that this user saw last.
 * This detects a changed entry, a shortened log and a second history without trusting the control node. Entries are
 * commitments; the user opens those of the accounts that it may read, and checks their chains. Then it verifies the
 * documents of all objects under this user's licences, which detects objects that were not ordered, requested or made.
 * Proofs from the logged map of accounts show that control hides neither the newest events of an account nor an object
 * of these licences.
 * @param heads heads of this log that were verified elsewhere: they must be of the same history, and not larger
 * @throws {MillraceError} E_LEDGER_CHECKPOINT, E_LEDGER_TRUNCATED, E_LEDGER_ENTRY, E_LEDGER_PROOF, E_EVIDENCE
 */
export async function auditLedger(
  session: Session,
  progress: (done: number, total: number) => void,
  onEvent: (logged: LoggedEvent) => void = () => undefined,
  heads: readonly Head[] = [],
): Promise<AuditResult> {
  const { api, storage, directory, clock } = session;
  // Only currently valid keys may sign now. A checkpoint seen earlier may be signed by any key that was ever valid.
  const logKey = logKeysOf(directory, clock.now()).map(parseVerifierKey);
  const everKeys = logKeysOf(directory).map(parseVerifierKey);
  let bytes = await api.checkpoint();
  let checkpoint = openCheckpoint(bytes, { logKey });
  const seenBytes = await storage.read(SEEN);
  const seen = seenBytes === undefined ? undefined : openCheckpoint(seenBytes, { logKey: everKeys });
  const known = seen === undefined ? heads : [seen, ...heads];
  for (const { size } of known)
    if (size > checkpoint.size)
      throw new MillraceError(
        'E_LEDGER_TRUNCATED',
        `the log has ${checkpoint.size} entries; it had ${size} when it was last verified`,
      );

  const objects = new OwnObjects(directory.installation, await ownParty(session), fromHex(directory.adminKey));
  const map = new MapAudit();
  const newest = new NewestEvents(checkpoint.size);
  const reader = new LogReader(session, {
    known,
    progress,
    onEvent: (logged, before) => {
      map.take(logged, before);
      newest.take(logged, before);
      objects.take(logged);
      onEvent(logged);
    },
  });
  await reader.readTo(checkpoint);
  const proven = await newest.verify(objects.notOrdered(), {
    ask: (query) => api.mapProofs(query),
    readBeyond: async (index) => {
      if (index < reader.size) return;
      bytes = await api.checkpoint();
      checkpoint = openCheckpoint(bytes, { logKey });
      if (index >= checkpoint.size)
        throw new MillraceError('E_LEDGER_TRUNCATED', `the log has ${checkpoint.size} entries, and no entry ${index}`);
      await reader.readTo(checkpoint);
    },
  });
  const { opened, accounts } = reader;
  const covered = opened === checkpoint.size ? map.verify(accounts) : undefined;
  const verified = await objects.verify();
  await storage.replace(SEEN, bytes);
  return {
    log: checkpoint.origin,
    size: checkpoint.size,
    root: toHex(checkpoint.root),
    accounts: accounts.size,
    opened,
    seen: seen?.size,
    objects: verified,
    map: covered,
    newest: proven.accounts,
    absent: proven.absent,
  };
}
