import { MillraceError } from '@millrace/base';
import { type CreditPolicy, licenceOf } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const recordSchema = z.strictObject({
  /** Credited by the licence's policy, not by a decision of the owner. */
  byPolicy: z.literal(true).optional(),
  /** The owner's statement of the objects left preceded it here and includes it: it makes no further object possible. */
  included: z.literal(true).optional(),
});
type CreditRecord = z.output<typeof recordSchema>;

/** Objects that their owners have credited, by signatures that this node has verified. Kept for ever. */
export class CreditRepository {
  readonly #table: Table<CreditRecord>;

  constructor(store: RecordStore) {
    this.#table = new Table(store, 'credit', recordSchema);
  }

  /** An object is credited once, however often its credit is delivered. */
  async take(object: string, credit: CreditRecord = {}): Promise<void> {
    await this.#table.create(object, credit);
  }

  async has(object: string): Promise<boolean> {
    return (await this.#table.get(object)) !== undefined;
  }

  /**
   * Checks that the licence's policy credits one more object. Call it for one credit of a licence at a time.
   * @throws {MillraceError} E_QUOTA
   */
  async requireLeft(object: string, { most }: CreditPolicy): Promise<void> {
    let taken = 0;
    for await (const [, { byPolicy }] of this.#table.list({ prefix: `${licenceOf(object)}-` })) if (byPolicy) taken++;
    if (taken >= most)
      throw new MillraceError('E_QUOTA', `the licence credits at most ${most} objects by its policy`, {
        data: { object, limit: most },
      });
  }

  /** Number of the licence's objects that are possible beyond the grant. */
  async count(licence: string): Promise<number> {
    return (await this.list(licence)).length;
  }

  /** The licence's credited objects, except those that the owner's statement included. */
  async list(licence: string): Promise<string[]> {
    const objects: string[] = [];
    for await (const [object, { included }] of this.#table.list({ prefix: `${licence}-` }))
      if (licenceOf(object) === licence && !included) objects.push(object);
    return objects;
  }

  /** @throws {MillraceError} E_CREDITED */
  async requireNone(object: string): Promise<void> {
    if (await this.has(object)) throw creditedError(object);
  }
}

export function creditedError(object: string): MillraceError {
  return new MillraceError('E_CREDITED', `object ${object} was credited: another object is made in its place`, {
    data: { object },
  });
}
