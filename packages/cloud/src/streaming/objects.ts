import { type Bytes, bytesOf, copyBytes, equalBytes, hexOf, KeyedMutex, MillraceError } from '@millrace/base';
import { keyId } from '@millrace/identity';
import { type MessageOf, type VerifiedOpening, verifyTransaction } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../node/table.ts';
import { alreadyPast, countDelivery, type Delivery } from './delivery-counts.ts';
import { ResumeRepository, type Verification } from './resumes.ts';

const uint = z.number().int().nonnegative();

const recordSchema = z.strictObject({
  print: hexOf(16),
  run: bytesOf(16),
  machine: hexOf(16),
  licence: hexOf(16),
  design: hexOf(16),
  /** Permits that were used. */
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
 * Each proactive node enforces for itself: one object per print; one print and one run per object; each permit once; each
 * segment once, except for what broken links lost; nothing of an object after its alarm, and no other object of the licence
 * on that machine until the owner has cleared the alarm.
 */
export class ObjectRepository {
  readonly #objects: Table<ObjectRecord>;
  /** By print: the object that was begun for it. */
  readonly #prints: Table<Named>;
  readonly #alarms: Table<Named>;
  /** By licence: an alarm and what it forbids are in the same records. */
  readonly #licences = new KeyedMutex();
  readonly #resumes: ResumeRepository;

  constructor(records: RecordStore) {
    this.#objects = new Table(records, 'object', recordSchema);
    this.#prints = new Table(records, 'print', named);
    this.#alarms = new Table(records, 'alarm', named);
    this.#resumes = new ResumeRepository(records);
  }

  /** Whether a session of the object has begun here, now or in the past. */
  async begun(object: string): Promise<boolean> {
    return (await this.#objects.get(object)) !== undefined;
  }

  /**
   * Records the use of a permit.
   * @returns false when this permit was used before (the message was delivered again)
   * @throws {MillraceError} E_REPLAY for another print, run or object, or for segments that the machine has passed; E_ALARM;
   *   E_LICENCE_SUSPENDED, E_LICENCE_EXHAUSTED
   */
  use(verified: VerifiedOpening, permitId: string): Promise<boolean> {
    return this.#serially(verified.permit.object, () => this.#use(verified, permitId));
  }

  async #use({ permit, request }: VerifiedOpening, permitId: string): Promise<boolean> {
    const { print, object, machine, licence, design } = permit;
    const { run, from } = request;
    const known = await this.#objects.get(object);
    await this.#resumes.require(permit, known !== undefined);
    if (known === undefined) {
      await this.#requireNoAlarm(permit);
      // The print first: a process that is killed in between begins the same object again.
      if (!(await this.#prints.create(print, { object })) && (await this.#prints.require(print)).object !== object)
        throw new MillraceError('E_REPLAY', 'the print was used for another object already');
      const record = { print, run, machine, licence, design, permits: [permitId], alarmed: false };
      await this.#objects.put(object, { ...record, reached: from, given: 0, again: 0, late: 0 });
      return true;
    }
    if (known.alarmed) throw new MillraceError('E_ALARM', 'the stream of this object is in the alarm state');
    if (known.permits.includes(permitId)) return false;
    if (known.print !== print || known.machine !== machine || Buffer.compare(known.run, run) !== 0) {
      throw new MillraceError('E_REPLAY', 'the object was streamed for another print or run already');
    }
    if (from < known.reached) throw alreadyPast(from, known.reached);
    await this.#objects.put(object, { ...known, permits: [...known.permits, permitId].slice(-1_000), reached: from });
    return true;
  }

  /** The machine has acknowledged every segment below `acked`. */
  reach(object: string, acked: number): Promise<void> {
    return this.#serially(object, async () => {
      const known = await this.#objects.get(object);
      if (known !== undefined && acked > known.reached) await this.#objects.put(object, { ...known, reached: acked });
    });
  }

  /**
   * Records a slice and the acknowledged segments before the slice is sent. After a crash, nothing that left the node is
   * forgotten, and at most one window of acknowledgements.
   * @throws {MillraceError} E_REPLAY when more is requested again than broken links can have lost, E_ALARM, E_NOT_FOUND
   */
  give(object: string, delivery: Delivery): Promise<void> {
    return this.#serially(object, async () => {
      const known = await this.#objects.get(object);
      if (known === undefined) throw new MillraceError('E_NOT_FOUND', `object ${object} was not begun here`);
      if (known.alarmed) throw new MillraceError('E_ALARM', 'the stream of this object is in the alarm state');
      await this.#objects.put(object, { ...known, ...countDelivery(known, delivery) });
    });
  }

  alarm(object: string): Promise<void> {
    return this.#serially(object, async () => {
      const known = await this.#objects.get(object);
      if (known === undefined || known.alarmed) return;
      // What forbids other objects first: a process that is killed in between takes the alarm again.
      await this.#alarms.put(alarmKey(known, object), { object });
      await this.#objects.put(object, { ...known, alarmed: true });
    });
  }

  /**
   * The owner's clearance, verified for this node; the object itself stays stopped.
   * @throws {MillraceError} E_NOT_FOUND, E_SIGNATURE, E_AUTH (another signer), E_FORBIDDEN
   */
  async clear(object: string, transaction: Uint8Array, options: Verification): Promise<void> {
    const known = await this.#objects.get(object);
    if (known === undefined) throw new MillraceError('E_NOT_FOUND', `object ${object} was not streamed from here`);
    const found = await options.ownerOf(known.design);
    if (found === undefined) throw new MillraceError('E_NOT_FOUND', `no design ${known.design}`);
    const owner = copyBytes(found);
    const lookup = (id: Bytes) => (equalBytes(id, keyId(owner)) ? owner : undefined);
    // It may have waited in the mailbox past its expiry. It takes effect once, so its age does not matter.
    const { body } = await verifyTransaction(transaction, options.directory.installation, lookup, 'any time');
    if (body.type !== 'alarm.clear' || body.object !== object)
      throw new MillraceError('E_FORBIDDEN', 'not the owner’s clearance of this object');
    await this.#serially(object, () => this.#alarms.remove(alarmKey(known, object)));
  }

  #serially<T>(object: string, task: () => Promise<T>): Promise<T> {
    return this.#licences.run(object.slice(0, object.lastIndexOf('-')), task);
  }

  /** The owner's statement of what is left of a licence after a restore, verified by this node. */
  resume(message: MessageOf<'licence.resume'>, options: Verification): Promise<void> {
    return this.#resumes.take(message, options);
  }

  async #requireNoAlarm({ licence, machine }: { licence: string; machine: string }): Promise<void> {
    const { records } = await this.#alarms.page({ prefix: alarmKey({ licence, machine }, ''), limit: 1 });
    for (const [, { object }] of records)
      throw new MillraceError('E_ALARM', `object ${object} of this licence raised an alarm on this machine`);
  }
}
