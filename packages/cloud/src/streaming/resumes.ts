import { hexOf, MillraceError, toHex } from '@millrace/base';
import {
  licenceOf,
  type MessageOf,
  numberOf,
  type OwnerLookup,
  type Permit,
  type TransactionOf,
  verifyOnLicence,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';

const uint = z.number().int().nonnegative();
const recordSchema = z.strictObject({
  /** Objects up to this number may only be resumed, if this node started them; no new one is started. */
  floor: uint,
  /** The newest restore, and the number of objects that were permitted by its backup. */
  restored: z.strictObject({ restore: hexOf(16), used: uint }).optional(),
  /** The owner's statement is missing for that restore. */
  suspended: z.literal(true).optional(),
  /** The restore of the owner's newest statement, and when the owner dated it, ms since 1970. */
  stated: z.strictObject({ restore: hexOf(16), at: uint }).optional(),
});
type ResumeRecord = z.output<typeof recordSchema>;

/** The owner's verified statement of how many objects of a licence are left. */
export interface Remaining {
  readonly licence: TransactionOf<'licence.grant'>;
  readonly statement: TransactionOf<'licence.resume'>;
}

/** @throws {MillraceError} E_LICENCE_INVALID, E_NOT_FOUND, E_SIGNATURE, E_AUTH, E_FORBIDDEN */
export async function verifyRemaining(message: MessageOf<'licence.resume'>, lookup: OwnerLookup): Promise<Remaining> {
  const { terms: licence, body } = await verifyOnLicence(message, lookup);
  if (body.type !== 'licence.resume' || body.licence !== toHex(licence.id))
    throw new MillraceError('E_FORBIDDEN', 'not the owner’s statement on this licence');
  return { licence, statement: body };
}

/** Licences that a restore suspended. Only the owner's signed statement resumes them (docs/adr/0025). */
export class ResumeRepository {
  readonly #table: Table<ResumeRecord>;

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
    if (known.suspended)
      throw new MillraceError('E_LICENCE_SUSPENDED', 'the owner has not yet stated how many objects are left');
    if (!begun && number <= known.floor)
      throw new MillraceError(
        'E_LICENCE_EXHAUSTED',
        'by the owner’s statement, this object of the licence was already made',
      );
  }

  /**
   * Applies the owner's statement. A repeated or older one changes nothing unless the licence waits for it.
   * @param credits number of the licence's credited objects now
   * @throws {MillraceError} E_REPLAY (a statement for another restore, or an earlier one), E_INPUT (more than can be left)
   */
  async take(remaining: Remaining, credits: number): Promise<void> {
    await this.#table.change(remaining.statement.licence, (known) => after(known, remaining, credits));
  }

  /**
   * Whether the owner's newest statement includes a credit that was signed at this time. At the same millisecond, the
   * order is not known: the credit is included, and adds no object.
   */
  async includes(licence: string, time: number): Promise<boolean> {
    const { stated } = (await this.#table.get(licence)) ?? {};
    return stated !== undefined && time <= stated.at;
  }

  /**
   * Suspends the licence again if the credit of an object may repeat one that the restore has lost. The object that it
   * allows may have been made then. Call it before the credit counts.
   */
  async credit(object: string): Promise<void> {
    const licence = licenceOf(object);
    if ((await this.#table.get(licence)) === undefined) return;
    await this.#table.update(licence, (known) =>
      known.restored === undefined || known.suspended || numberOf(object) > known.restored.used
        ? known
        : { ...known, suspended: true },
    );
  }

  /**
   * Called on a stopped node when a backup is restored.
   * @param left whether the licence has objects left by the backup: it is suspended until its owner's statement
   */
  async restore(licence: string, restored: NonNullable<ResumeRecord['restored']>, left: boolean): Promise<void> {
    const known = await this.#table.get(licence);
    await this.#table.put(licence, { ...known, floor: known?.floor ?? 0, restored, suspended: left || undefined });
  }
}

/** The record after the owner's statement. */
function after(known: ResumeRecord | undefined, { licence, statement }: Remaining, credits: number): ResumeRecord {
  const { restore, objects, issued } = statement;
  const { suspended = false, restored, floor = 0, stated } = known ?? {};
  if (suspended && restored?.restore !== restore)
    throw new MillraceError('E_REPLAY', 'the owner’s statement is for another restore');
  const isOld = stated !== undefined && issued <= stated.at;
  if (suspended && isOld && stated.restore === restore)
    throw new MillraceError('E_REPLAY', 'an object was credited since the owner’s statement');
  const allowed = licence.objects + credits;
  if (objects > allowed - (suspended ? (restored?.used ?? 0) : 0))
    throw new MillraceError('E_INPUT', 'more objects than the licence can have left');
  // Credits since then are not in the statement.
  if (known !== undefined && !suspended && isOld) return known;
  return {
    ...{ floor: Math.max(floor, allowed - objects), restored },
    stated: { restore, at: Math.max(stated?.at ?? 0, issued) },
  };
}
