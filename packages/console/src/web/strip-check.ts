import type { MapAnswer, OpeningView } from '@millrace/api';
import { equalBytes, fromBase64, fromHex, MillraceError, sleep, toMillraceError } from '@millrace/base';
import { checkCertificate, type LogSource } from '@millrace/client';
import { decodeOpening, type LoggedEvent, readMapRoot, verifyAccountInMap } from '@millrace/ledger';
import { objectId } from '@millrace/protocol';
import { type LogTrust, proveEntry, readHead } from './ledger-proof.ts';
import type { Cell } from './reading-order.ts';

/** What control gives. Nothing in it is trusted. */
export interface StripSource {
  readonly log: LogSource;
  certificate(object: string): Promise<Uint8Array>;
  map(query: { readonly size: number; readonly accounts: string[] }): Promise<MapAnswer>;
  opening(index: number): Promise<OpeningView | undefined>;
}

export interface StripTrust extends LogTrust {
  /** secp256k1 key of the administrator, 66 hexadecimal digits. */
  readonly authority: string;
}

export interface CheckedStrip {
  /** Entries of the log that the check covers, and names of the witnesses that have signed its head. */
  readonly size: number;
  readonly witnesses: readonly string[];
  /** Objects whose signed documents were verified, and numbers that are proven to have none. */
  readonly objects: number;
  readonly absent: number;
  /** Cells whose objects are not shown one by one. */
  readonly unchecked: number;
  /** Why a cell does not hold, by its number. */
  readonly failures: ReadonlyMap<number, MillraceError>;
}

/** How often, and after which pause, the head is read again until it has the root of the map, ms. */
const TRIES = 10;
const PAUSE_MS = 500;

/**
 * Verifies the strip of a licence that control shows. Each object: its certificate, with all signed documents, has the
 * shown state, and no event follows. Each free number: it has no object. Both by a root of the map of accounts in the
 * newest log, whose head its witnesses sign.
 * @throws {MillraceError} E_LEDGER_CHECKPOINT, E_LEDGER_PROOF, E_LEDGER_ENTRY: the log itself does not hold
 */
export async function checkStrip(
  { licence, cells }: { readonly licence: string; readonly cells: readonly Cell[] },
  source: StripSource,
  trust: StripTrust,
  progress: (done: number) => void = () => undefined,
): Promise<CheckedStrip> {
  const shown = cells.filter(({ state }) => state !== 'earlier');
  const accounts = shown.map(({ number }) => objectId(licence, number));
  const before = await readHead(source.log, trust);
  const { index, proofs } = await source.map({ size: before.size, accounts });
  if (index < before.size - 1) throw unproven('control proves the strip in a map that is older than the log');
  if (proofs.length !== accounts.length) throw unproven('control does not answer for every number');
  const { root, head } = await provenRoot(source, index, trust);
  const failures = new Map<number, MillraceError>();
  const counts = { objects: 0, absent: 0 };
  for (const [at, cell] of shown.entries()) {
    try {
      const newest = newestIn(root, accounts[at] ?? '', proofs[at] as MapAnswer['proofs'][number]);
      if (cell.object === undefined) {
        if (newest !== undefined) throw unproven('the log has an object of this number, and control does not show it');
        counts.absent += 1;
      } else {
        await checkObject({ ...cell, licence, newest }, source, trust);
        counts.objects += 1;
      }
    } catch (error) {
      failures.set(cell.number, toMillraceError(error));
    }
    progress(at + 1);
    // A verification takes some 100 ms: the page stays usable.
    await sleep(0);
  }
  const witnesses = head.cosignatures.map(({ name }) => name);
  return { size: head.size, witnesses, ...counts, unchecked: cells.length - shown.length, failures };
}

const unproven = (message: string) => new MillraceError('E_LEDGER_PROOF', message);

/** The root of the map that an entry logs, and the head of the log that has the entry. */
async function provenRoot(source: StripSource, index: number, trust: LogTrust) {
  const opened = await source.opening(index);
  if (opened?.index !== index) throw unproven(`control does not open entry ${index}`);
  const logged: LoggedEvent = decodeOpening(fromBase64(opened.opening), index);
  for (let tries = 1; ; tries++) {
    const proven = await proveEntry(source.log, index, trust).catch((error: unknown) => {
      // A head is published after its entries.
      if (toMillraceError(error).code === 'E_NOT_FOUND' && tries < TRIES) return undefined;
      throw error;
    });
    const isWitnessed = proven !== undefined && proven.head.cosignatures.length > 0;
    if (proven !== undefined && (isWitnessed || trust.witnesses.length === 0 || tries >= TRIES)) {
      if (!equalBytes(logged.entry, proven.entry))
        throw new MillraceError('E_LEDGER_ENTRY', `control opens entry ${index} to what it does not commit to`);
      return { root: readMapRoot(logged), head: proven.head };
    }
    await sleep(PAUSE_MS);
  }
}

/** Number of the account's newest event in the map; undefined if it has none. @throws {MillraceError} E_LEDGER_PROOF */
function newestIn(
  root: ReturnType<typeof readMapRoot>,
  account: string,
  { newest, siblings, other }: MapAnswer['proofs'][number],
): number | undefined {
  const valueIn = ({ sequence, hash }: { sequence: number; hash: string }) => ({ sequence, hash: fromBase64(hash) });
  const proof = {
    siblings: siblings.map(fromBase64),
    other: other && { key: fromBase64(other.key), ...valueIn(other) },
  };
  if (!verifyAccountInMap(root, account, newest && valueIn(newest), proof))
    throw unproven(`control does not prove which event of ${account} is its newest`);
  return newest?.sequence;
}

/** @throws {MillraceError} as `checkCertificate`; E_LEDGER_PROOF if control shows something else than the log has */
async function checkObject(
  {
    object = '',
    state,
    licence,
    number,
    newest,
  }: Cell & { readonly licence: string; readonly newest?: number | undefined },
  source: StripSource,
  { logKeys, witnesses, authority }: StripTrust,
): Promise<void> {
  const trusted = { logKey: logKeys, authority: fromHex(authority), witnesses };
  const summary = await checkCertificate(await source.certificate(object), trusted);
  const isOf = summary.object === object && summary.licence === licence && summary.number === number;
  if (!isOf || object !== objectId(licence, number)) throw unproven('control gives the certificate of another object');
  if (summary.events.length !== (newest ?? -1) + 1)
    throw unproven(`control shows ${summary.events.length} events of the object; the log has ${(newest ?? -1) + 1}`);
  if (summary.state !== state) throw unproven(`control shows the state ${state}; the log has ${summary.state}`);
}
