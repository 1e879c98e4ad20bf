import { equalBytes, fromHex, MillraceError, toHex } from '@millrace/base';
import {
  type AccountHead,
  CompactRange,
  decodeBundle,
  decodeEvent,
  followAccount,
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
  readonly accounts: number;
  /** Size that this user had seen before, which the log still extends. */
  readonly seen: number | undefined;
  /** Objects under this user's own licences, each with all its signed documents. */
  readonly objects: number;
}

/**
 * Downloads the whole log and recomputes it against its signed checkpoint, and against the one that this user saw
 * last: a changed entry, a shortened log and a second history are found without believing the control node. Then the
 * documents of all objects under this user's licences: what nobody ordered, asked for or made is found as well.
 * @throws {MillraceError} E_LEDGER_CHECKPOINT, E_LEDGER_TRUNCATED, E_LEDGER_ENTRY, E_LEDGER_PROOF, E_EVIDENCE
 */
export async function auditLedger(
  session: Session,
  progress: (done: number, total: number) => void,
): Promise<AuditResult> {
  const { api, storage, directory, clock } = session;
  // Now only keys that count sign; what this user saw before may be signed by any that ever counted.
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
  for (let first = 0; first < checkpoint.size; first += TILE_WIDTH) {
    const width = Math.min(TILE_WIDTH, checkpoint.size - first);
    const bundle = decodeBundle(await api.tile(tilePath({ kind: 'entries', index: first / TILE_WIDTH, width })));
    if (bundle.length !== width) {
      throw new MillraceError('E_LEDGER_TRUNCATED', `the log ends before entry ${first + bundle.length}`);
    }
    bundle.forEach((entry, offset) => {
      range.push(leafHash(entry));
      const logged = decodeEvent(entry, first + offset);
      const { account } = logged.event;
      accounts.set(account, followAccount(accounts.get(account), logged));
      objects.take(logged);
      requireSeen(first + offset + 1);
    });
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
    seen: seen?.size,
    objects: proven,
  };
}
