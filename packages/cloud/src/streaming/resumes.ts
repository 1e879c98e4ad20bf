import { type Bytes, copyBytes, hexOf, MillraceError, toHex } from '@millrace/base';
import {
  type Directory,
  type MessageOf,
  type Permit,
  readTransaction,
  verifyLicence,
  verifyTransactionBy,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const uint = z.number().int().nonnegative();
const recordSchema = z.strictObject({
  /** Objects up to this number may only be resumed, if this node started them; no new one is started. */
  floor: uint,
  /** The restore for which the owner's statement is missing. By the backup, at most `most` objects are left. */
  suspended: z.strictObject({ restore: hexOf(16), most: uint }).optional(),
});

export interface Verification {
  readonly directory: Directory;
  ownerOf(design: string): Promise<Bytes | undefined> | Uint8Array;
}

/** Licences that a restore suspended. Only the owner's signed statement resumes them (docs/adr/0025). */
export class ResumeRepository {
  readonly #table: Table<z.output<typeof recordSchema>>;

  constructor(store: RecordStore) {
    this.#table = new Table(store, 'resume', recordSchema);
  }

  /**
   * @param begun whether this node's own records contain the object
   * @throws {MillraceError} E_LICENCE_SUSPENDED, E_LICENCE_EXHAUSTED
   */
  async require({ licence, number }: Pick<Permit, 'licence' | 'number'>, begun: boolean): Promise<void> {
    const known = await this.#table.get(licence);
    if (known === undefined) return;
    if (known.suspended !== undefined)
      throw new MillraceError('E_LICENCE_SUSPENDED', 'the owner has not yet stated how many objects are left');
    if (!begun && number <= known.floor)
      throw new MillraceError(
        'E_LICENCE_EXHAUSTED',
        'by the owner’s statement, this object of the licence was already made',
      );
  }

  /**
   * Verifies and applies the owner's statement. A repeated or older statement changes nothing, because the floor only
   * rises.
   * @throws {MillraceError} E_LICENCE_INVALID, E_NOT_FOUND, E_SIGNATURE, E_AUTH, E_FORBIDDEN; E_REPLAY (a statement for
   * another restore), E_INPUT (more than the backup leaves)
   */
  async take(message: MessageOf<'licence.resume'>, { directory, ownerOf }: Verification): Promise<void> {
    const claimed = readTransaction(message.licence);
    if (claimed.type !== 'licence.grant') throw new MillraceError('E_LICENCE_INVALID', 'not a licence');
    const found = await ownerOf(claimed.design);
    if (found === undefined) throw new MillraceError('E_NOT_FOUND', `no design ${claimed.design}`);
    const owner = copyBytes(found);
    const { body: licence } = await verifyLicence(message.licence, directory, owner);
    const id = toHex(licence.id);
    // The statement names its restore.
    const { body } = await verifyTransactionBy(owner, message.transaction, directory);
    if (body.type !== 'licence.resume' || body.licence !== id)
      throw new MillraceError('E_FORBIDDEN', 'not the owner’s statement on this licence');
    const known = await this.#table.get(id);
    const suspended = known?.suspended;
    if (suspended !== undefined && suspended.restore !== body.restore)
      throw new MillraceError('E_REPLAY', 'the owner’s statement is for another restore');
    if (body.objects > (suspended?.most ?? licence.objects))
      throw new MillraceError('E_INPUT', 'more objects than the licence can have left');
    await this.#table.put(id, { floor: Math.max(known?.floor ?? 0, licence.objects - body.objects) });
  }

  /** Suspends the licence until its owner's statement. Called on a stopped node when a backup is restored. */
  async suspend(licence: string, suspended: { readonly restore: string; readonly most: number }): Promise<void> {
    const floor = (await this.#table.get(licence))?.floor ?? 0;
    await this.#table.put(licence, { floor, suspended });
  }
}
