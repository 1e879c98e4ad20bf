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

/** Where each licence stands by its owner's statements, as this node has verified them. Kept for ever. */
export class LicenceStatuses {
  readonly #table: Table<LicenceStatus>;

  constructor(store: RecordStore) {
    this.#table = new Table(store, 'licence-status', licenceStatusSchema);
  }

  /**
   * @param begun the object is in this node's own records: it is finished, unless the owner stops it
   * @throws {MillraceError} E_LICENCE_REVOKED, E_LICENCE_SUSPENDED
   */
  async require(licence: string, begun: boolean): Promise<void> {
    const status = (await this.#table.get(licence)) ?? activeLicence;
    if (begun) requireNotStopped(status, licence);
    else requireActive(status, licence);
  }

  /** Takes a verified statement; an old or repeated one changes nothing. One at a time for each licence. */
  async take(licence: string, statement: LicenceStatement): Promise<LicenceStatus> {
    const status = statusAfter((await this.#table.get(licence)) ?? activeLicence, statement);
    await this.#table.put(licence, status);
    return status;
  }
}
