import { bytesOf, copyBytes, hexOf, KeyedMutex, MillraceError } from '@millrace/base';
import {
  type LicenceStatus,
  licenceOf,
  type MessageOf,
  type VerifiedOpening,
  verifyLicenceStatement,
  verifyTransactionBy,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';
import { alreadyPast, countDelivery, type Delivery } from './delivery-counts.ts';
import { LicenceStatuses } from './licence-status.ts';
import { ResumeRepository, type Verification } from './resumes.ts';

const uint = z.number().int().nonnegative();

const recordSchema = z.strictObject({
  print: hexOf(16),
  run: bytesOf(16),
  machine: hexOf(16),
  licence: hexOf(16),
  design: hexOf(16),
  /** Ids of the permits that were used. */
  permits: z.array(hexOf(16)),
  alarmed: z.boolean(),
  /** See `DeliveryCounts`. */
  reached: uint,
  given: uint,
  again: uint,
  late: uint,
});
type ObjectRecord = z.output<typeof recordSchema>;

const alarmKey = ({ licence, machine }: { licence: string; machine: string }, object: string): string =>
  `${licence}/${machine}/${object}`;

const named = z.strictObject({ object: z.string() });
type Named = z.output<typeof named>;

/**
 * The limits that each proactive node enforces independently: one object per print; one print and one run per object;
 * each permit once; each segment once, except for losses of broken links; no session and no segment of an object after
 * its alarm; no other object of the licence on that machine until the owner has cleared the alarm.
 */
export class ObjectRepository {
  readonly #objects: Table<ObjectRecord>;
  /** The object that was started for each print. */
  readonly #prints: Table<Named>;
  readonly #alarms: Table<Named>;
  /** By licence, because an alarm and the objects that it blocks are in the same records. */
  readonly #licences = new KeyedMutex();
  readonly #resumes: ResumeRepository;
  readonly #statuses: LicenceStatuses;

  constructor(records: RecordStore) {
    this.#objects = new Table(records, 'object', recordSchema);
    this.#prints = new Table(records, 'print', named);
    this.#alarms = new Table(records, 'alarm', named);
    this.#resumes = new ResumeRepository(records);
    this.#statuses = new LicenceStatuses(records);
  }

  /** Whether this node has ever started a session of the object. */
  async begun(object: string): Promise<boolean> {
    return (await this.#objects.get(object)) !== undefined;
  }

  /**
   * Records the use of a permit.
   * @returns false when the permit was already used (the message was delivered again)
   * @throws {MillraceError} E_REPLAY for another print, run or object, or for segments that the machine has passed;
   * E_ALARM; E_LICENCE_SUSPENDED, E_LICENCE_REVOKED, E_LICENCE_EXHAUSTED
   */
  use(verified: VerifiedOpening, permitId: string): Promise<boolean> {
    return this.#serially(verified.permit.object, () => this.#use(verified, permitId));
  }

  async #use({ permit, request }: VerifiedOpening, permitId: string): Promise<boolean> {
    const { print, object, machine, licence, design } = permit;
    const { run, from } = request;
    const known = await this.#objects.get(object);
    await this.#resumes.require(permit, known !== undefined);
    await this.#statuses.require(licence, known !== undefined);
    if (known === undefined) {
      await this.#requireNoAlarm(permit);
      // The print first, so that a process that is killed in between starts the same object again.
      if (!(await this.#prints.create(print, { object })) && (await this.#prints.require(print)).object !== object)
        throw new MillraceError('E_REPLAY', 'the print was already used for another object');
      const record = { print, run, machine, licence, design, permits: [permitId], alarmed: false };
      await this.#objects.put(object, { ...record, reached: from, given: 0, again: 0, late: 0 });
      return true;
    }
    if (known.alarmed) throw new MillraceError('E_ALARM', 'the stream of this object is in the alarm state');
    if (known.permits.includes(permitId)) return false;
    if (known.print !== print || known.machine !== machine || Buffer.compare(known.run, run) !== 0) {
      throw new MillraceError('E_REPLAY', 'the object was already streamed for another print or run');
    }
    if (from < known.reached) throw alreadyPast(from, known.reached);
    await this.#objects.put(object, { ...known, permits: [...known.permits, permitId].slice(-1_000), reached: from });
    return true;
  }

  /** Records that the machine has acknowledged every segment below `acked`. */
  reach(object: string, acked: number): Promise<void> {
    return this.#serially(object, async () => {
      const known = await this.#objects.get(object);
      if (known !== undefined && acked > known.reached) await this.#objects.put(object, { ...known, reached: acked });
    });
  }

  /**
   * Records a slice and the acknowledged segments before the slice is sent. A crash therefore loses no record of sent
   * segments, and at most one window of acknowledgements.
   * @throws {MillraceError} E_REPLAY when more segments are requested again than broken links can lose, E_ALARM,
   *   E_NOT_FOUND, E_LICENCE_REVOKED
   */
  give(object: string, delivery: Delivery): Promise<void> {
    return this.#serially(object, async () => {
      const known = await this.#objects.get(object);
      if (known === undefined) throw new MillraceError('E_NOT_FOUND', `this node has not started object ${object}`);
      if (known.alarmed) throw new MillraceError('E_ALARM', 'the stream of this object is in the alarm state');
      await this.#statuses.require(known.licence, true);
      await this.#objects.put(object, { ...known, ...countDelivery(known, delivery) });
    });
  }

  alarm(object: string): Promise<void> {
    return this.#serially(object, async () => {
      const known = await this.#objects.get(object);
      if (known === undefined || known.alarmed) return;
      // The licence's block first, so that a process that is killed in between handles the alarm again.
      await this.#alarms.put(alarmKey(known, object), { object });
      await this.#objects.put(object, { ...known, alarmed: true });
    });
  }

  /**
   * Applies the owner's clearance, which this node verifies. The object itself stays stopped.
   * @throws {MillraceError} E_NOT_FOUND, E_SIGNATURE, E_AUTH (another signer), E_FORBIDDEN
   */
  async clear(object: string, transaction: Uint8Array, options: Verification): Promise<void> {
    const known = await this.#objects.get(object);
    if (known === undefined) throw new MillraceError('E_NOT_FOUND', `this node has not streamed object ${object}`);
    const found = await options.ownerOf(known.design);
    if (found === undefined) throw new MillraceError('E_NOT_FOUND', `no design ${known.design}`);
    const { body } = await verifyTransactionBy(copyBytes(found), transaction, options.directory);
    if (body.type !== 'alarm.clear' || body.object !== object)
      throw new MillraceError('E_FORBIDDEN', 'not the owner’s clearance of this object');
    await this.#serially(object, () => this.#alarms.remove(alarmKey(known, object)));
  }

  #serially<T>(object: string, task: () => Promise<T>): Promise<T> {
    return this.#licences.run(licenceOf(object), task);
  }

  /** Applies the owner's statement of how many objects are left after a restore. This node verifies it. */
  resume(message: MessageOf<'licence.resume'>, options: Verification): Promise<void> {
    return this.#resumes.take(message, options);
  }

  /**
   * Verifies and applies the owner's statement that suspends, reinstates or revokes a licence.
   * @throws {MillraceError} as `verifyLicenceStatement`
   */
  async setStatus(
    message: MessageOf<'licence.status'>,
    options: Verification,
  ): Promise<{ readonly licence: string; readonly status: LicenceStatus }> {
    const { licence, statement } = await verifyLicenceStatement(message, options);
    const status = await this.#licences.run(licence, () => this.#statuses.take(licence, statement));
    return { licence, status };
  }

  async #requireNoAlarm({ licence, machine }: { licence: string; machine: string }): Promise<void> {
    const { records } = await this.#alarms.page({ prefix: alarmKey({ licence, machine }, ''), limit: 1 });
    for (const [, { object }] of records)
      throw new MillraceError('E_ALARM', `object ${object} of this licence raised an alarm on this machine`);
  }
}
