import { equalBytes, MillraceError, utf8 } from '@millrace/base';
import { type AccountHead, type LoggedEvent, MAP_ACCOUNT, mapKey, mapRootOf, readMapRoot } from '@millrace/ledger';

/** Recomputes the newest logged root of the account map, from all events of the log. */
export class MapAudit {
  #logged: LoggedEvent | undefined;
  /** Accounts that changed since that root, as they were under it. */
  readonly #before = new Map<string, AccountHead | undefined>();

  /**
   * Takes the events in the order of the log.
   * @param head the account before this event
   */
  take(logged: LoggedEvent, head: AccountHead | undefined): void {
    const { account } = logged.event;
    if (account === MAP_ACCOUNT) {
      this.#logged = logged;
      this.#before.clear();
    }
    if (!this.#before.has(account)) this.#before.set(account, head);
  }

  /**
   * @param accounts all accounts after the last event
   * @returns the number of entries that the root covers; undefined if none is logged
   * @throws {MillraceError} E_LEDGER_ENTRY if the root is not that of the accounts
   */
  verify(accounts: ReadonlyMap<string, AccountHead>): number | undefined {
    if (this.#logged === undefined) return undefined;
    const { root, salt } = readMapRoot(this.#logged);
    const leaves = [...accounts.keys()].flatMap((account) => {
      const head = this.#before.has(account) ? this.#before.get(account) : accounts.get(account);
      return head === undefined ? [] : [{ ...head, key: mapKey(salt, utf8(account)) }];
    });
    const { index } = this.#logged;
    if (equalBytes(mapRootOf(leaves), root)) return index;
    throw new MillraceError('E_LEDGER_ENTRY', `the map of accounts in entry ${index} is not that of the entries`, {
      data: { index },
    });
  }
}
