import {
  activeLicence,
  type LicenceStatement,
  type LicenceStatus,
  licenceStatusSchema,
  requireActive,
  requireNotStopped,
  statusAfter,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { Table } from '../node/table.ts';

/** Status of each licence by its owner's statements, which this node has verified. Kept for ever. */
export class LicenceStatuses {
  readonly #table: Table<LicenceStatus>;

  constructor(store: RecordStore) {
    this.#table = new Table(store, 'licence-status', licenceStatusSchema);
  }

  /**
   * @param begun whether the object is in this node's own records. Such an object may be finished unless the owner
   * stops it
   * @throws {MillraceError} E_LICENCE_REVOKED, E_LICENCE_SUSPENDED
   */
  async require(licence: string, begun: boolean): Promise<void> {
    const status = (await this.#table.get(licence)) ?? activeLicence;
    if (begun) requireNotStopped(status, licence);
    else requireActive(status, licence);
  }

  /** Applies a verified statement. An old or repeated one changes nothing. */
  take(licence: string, statement: LicenceStatement): Promise<LicenceStatus> {
    return this.#table.change(licence, (status) => statusAfter(status ?? activeLicence, statement));
  }
}
