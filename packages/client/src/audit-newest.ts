import { MAX_LIMIT, type MapAnswer } from '@millrace/api';
import { fromBase64, MillraceError } from '@millrace/base';
import {
  type AccountHead,
  type LoggedEvent,
  MAP_ACCOUNT,
  type MapProof,
  type MapValue,
  readMapRoot,
  verifyAccountInMap,
} from '@millrace/ledger';

export interface NewestOptions {
  /** Size of the verified log that the map has to cover. */
  readonly size: number;
  readonly ask: (query: { size: number; accounts: string[] }) => Promise<MapAnswer>;
  /** Reads the log until it has the entry, and gives each event that control opens to `take`. */
  readonly readBeyond: (index: number) => Promise<void>;
}

export interface Newest {
  /** Accounts whose newest event is proven. */
  readonly accounts: number;
  /** Names of objects that are proven to have no event. */
  readonly absent: number;
}

/**
 * Compares the newest events that control opened with those in the logged map of accounts. So a user detects without a
 * certificate that control hides the last events of an account, or a whole object.
 */
export class NewestEvents {
  readonly #size: number;
  /** Newest events of an account: the last one that every accepted map covers, and those after it. */
  readonly #heads = new Map<string, (MapValue & { readonly index: number })[]>();
  /** Logged roots that are not too old, by index. */
  readonly #roots = new Map<number, LoggedEvent>();

  /** @param size of the head that the map has to cover */
  constructor(size: number) {
    this.#size = size;
  }

  /**
   * Takes an event of the log. Events must come in the order of the log.
   * @param before the account before this event
   */
  take(logged: LoggedEvent, before: AccountHead | undefined): void {
    const { index, hash } = logged;
    const { account, sequence } = logged.event;
    const oldest = this.#size - 1;
    const head = { index, sequence, hash };
    if (index < oldest) this.#heads.set(account, [head]);
    else this.#heads.set(account, [...(this.#heads.get(account) ?? (before ? [before] : [])), head]);
    if (account === MAP_ACCOUNT && index >= oldest) this.#roots.set(index, logged);
  }

  /**
   * @param absent names of accounts that must have no event, unless control opened some
   * @throws {MillraceError} E_LEDGER_TRUNCATED if control hides events, proven by the map; E_LEDGER_PROOF if it does not
   *   prove what it opened, or proves it in a map that is too old or not in the log
   */
  async verify(absent: Iterable<string>, { ask, readBeyond }: Omit<NewestOptions, 'size'>): Promise<Newest> {
    const names = [...new Set([...this.#heads.keys(), ...absent])];
    const counts = { accounts: 0, absent: 0 };
    for (let first = 0; first < names.length; first += MAX_LIMIT) {
      const accounts = names.slice(first, first + MAX_LIMIT);
      const { index, proofs } = await ask({ size: this.#size, accounts });
      if (index < this.#size - 1)
        throw unproven(`control proves the newest events in the map of entry ${index}, which is older than the log`);
      await readBeyond(index);
      const logged = this.#roots.get(index);
      if (logged === undefined) throw unproven(`entry ${index} does not log a root of the map of accounts`);
      if (proofs.length !== accounts.length) throw unproven('control does not answer for every account');
      for (const [i, account] of accounts.entries()) {
        const proven = this.#verifyOne(account, logged, proofs[i] as MapAnswer['proofs'][number]);
        counts[proven ? 'accounts' : 'absent'] += 1;
      }
    }
    return counts;
  }

  /** @returns whether the account has events */
  #verifyOne(account: string, logged: LoggedEvent, answer: MapAnswer['proofs'][number]): boolean {
    const root = readMapRoot(logged);
    const proof = proofOf(answer);
    const opened = this.#heads.get(account)?.findLast(({ index }) => index < logged.index);
    if (verifyAccountInMap(root, account, opened, proof)) return opened !== undefined;
    const newest = answer.newest && mapValueOf(answer.newest);
    if (newest === undefined || !verifyAccountInMap(root, account, newest, proof))
      throw unproven(
        opened === undefined
          ? `control does not prove that ${account} has no event`
          : `control does not prove that event ${opened.sequence} of ${account} is its newest`,
      );
    if (newest.sequence > (opened?.sequence ?? -1))
      throw new MillraceError(
        'E_LEDGER_TRUNCATED',
        `control hides events of ${account}: the log has ${newest.sequence + 1}, control opens ${(opened?.sequence ?? -1) + 1}`,
        { data: { account } },
      );
    throw unproven(`the map of accounts has another newest event of ${account} than the log`);
  }
}

function proofOf({ siblings, other }: MapAnswer['proofs'][number]): MapProof {
  return {
    siblings: siblings.map(fromBase64),
    other: other && { key: fromBase64(other.key), ...mapValueOf(other) },
  };
}

const mapValueOf = ({ sequence, hash }: { sequence: number; hash: string }): MapValue => ({
  sequence,
  hash: fromBase64(hash),
});

const unproven = (message: string) => new MillraceError('E_LEDGER_PROOF', message);
