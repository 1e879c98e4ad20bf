import { MillraceError, toHex } from '@millrace/base';
import {
  type DesignAuthority,
  type Directory,
  ignoringRevocations,
  type MessageOf,
  ownerParty,
  readTransaction,
  verifyAmendments,
  verifyLicence,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const recordSchema = z.strictObject({
  /** SHA-256 of each transfer, hexadecimal, in order. */
  transfers: z.array(z.string()),
});

/**
 * The longest chain of transfers of each licence that this node has verified. A former holder cannot order again, and
 * a second transfer by the same holder has no effect, whatever control shows. Kept for ever.
 */
export class TransferRepository {
  readonly #table: Table<z.output<typeof recordSchema>>;

  constructor(store: RecordStore) {
    this.#table = new Table(store, 'licence-transfers', recordSchema);
  }

  /**
   * Records a verified chain. A shorter chain or another one is refused.
   * @throws {MillraceError} E_LICENCE_INVALID
   */
  async take(licence: string, transfers: readonly string[]): Promise<void> {
    if (transfers.length === 0 && (await this.#table.get(licence)) === undefined) return;
    await this.#table.change(licence, (record) => {
      const known = record?.transfers ?? [];
      if (known.some((transfer, i) => transfers[i] !== transfer))
        throw new MillraceError('E_LICENCE_INVALID', 'the licence was transferred to another holder', {
          data: { licence, transfers: known.length },
        });
      return record !== undefined && transfers.length === known.length ? record : { transfers: [...transfers] };
    });
  }
}

/** How a node knows a design: it recorded the design when it was stored. */
export interface DesignLookup {
  readonly directory: Directory;
  designOf(design: string): Promise<Omit<DesignAuthority, 'coreHash'> | undefined>;
}

/**
 * Verifies a licence and its amendments as control delivers them.
 * @throws {MillraceError} E_LICENCE_INVALID, E_NOT_FOUND (unknown design), and as `verifyAmendments`
 */
export async function verifyTransfers(
  { licence: transaction, licenceSigner: credential, amendments }: MessageOf<'licence.amend'>,
  { directory, designOf }: DesignLookup,
): Promise<{ readonly licence: string; readonly transfers: readonly string[] }> {
  const claimed = readTransaction(transaction);
  if (claimed.type !== 'licence.grant') throw new MillraceError('E_LICENCE_INVALID', 'not a licence');
  const design = await designOf(claimed.design);
  if (design === undefined) throw new MillraceError('E_NOT_FOUND', `no design ${claimed.design}`);
  const owner = ownerParty(design);
  const { body } = await verifyLicence({ transaction, credential }, owner, ignoringRevocations(directory));
  const { transfers } = await verifyAmendments(transaction, amendments, {
    ...{ owner, approvals: design.approvals, directory },
  });
  return { licence: toHex(body.id), transfers };
}
