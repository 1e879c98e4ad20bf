import { bytesOf, equalBytes, hexOf, KeyedMutex, MillraceError, toHex } from '@millrace/base';
import {
  type Directory,
  type EarlyFailure,
  type GroupStatement,
  type LicenceStatus,
  licenceOf,
  type MessageOf,
  type OwnerLookup,
  ownerParty,
  requirePresent,
  type TransactionOf,
  type VerifiedOpening,
  verifyAssignment,
  verifyCredit,
  verifyFor,
  verifyGroup,
  verifyLicenceStatement,
} from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { PeriodCounts } from '../node/period-counts.ts';
import { Table } from '../node/table.ts';
import { CreditRepository } from './credits.ts';
import { alreadyPast, countDelivery, type Delivery } from './delivery-counts.ts';
import { LicenceStatuses } from './licence-status.ts';
import { GroupGuard } from './machine-groups.ts';
import { ResumeRepository, verifyRemaining } from './resumes.ts';
import { SpoolGuard } from './spools.ts';
import { type DesignLookup, TransferRepository, verifyTransfers } from './transfers.ts';

const uint = z.number().int().nonnegative();

const recordSchema = z.strictObject({
  print: hexOf(16),
  run: bytesOf(16),
  machine: hexOf(16),
  licence: hexOf(16),
  design: hexOf(16),
  /** Number of the period in which it began, if a subscription limits the objects. */
  period: uint.optional(),
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
  readonly #spools: SpoolGuard;
  readonly #credits: CreditRepository;
  readonly #transfers: TransferRepository;
  readonly #periods: PeriodCounts;
  readonly #groups: GroupGuard;

  /** @param node id of this node, if several share the records */
  constructor(records: RecordStore, node?: string) {
    this.#objects = new Table(records, 'object', recordSchema);
    this.#prints = new Table(records, 'print', named);
    this.#alarms = new Table(records, 'alarm', named);
    this.#resumes = new ResumeRepository(records);
    this.#statuses = new LicenceStatuses(records);
    this.#spools = new SpoolGuard(records);
    this.#credits = new CreditRepository(records);
    this.#transfers = new TransferRepository(records);
    this.#periods = new PeriodCounts(records, node);
    this.#groups = new GroupGuard(records);
  }

  /** Whether this node has ever started a session of the object. */
  async begun(object: string): Promise<boolean> {
    return (await this.#objects.get(object)) !== undefined;
  }

  /**
   * Records the use of a permit.
   * @returns false when the permit was already used (the message was delivered again)
   * @throws {MillraceError} E_REPLAY for another print, run or object, or for segments that the machine has passed;
   * E_ALARM; E_MATERIAL; E_LICENCE_INVALID, E_LICENCE_SUSPENDED, E_LICENCE_REVOKED, E_LICENCE_EXHAUSTED,
   * E_LICENCE_QUOTA; E_CREDITED
   */
  use(verified: VerifiedOpening, permitId: string): Promise<boolean> {
    return this.#serially(verified.permit.object, () => this.#use(verified, permitId));
  }

  async #use(verified: VerifiedOpening, permitId: string): Promise<boolean> {
    const { permit } = verified;
    const begun = await this.begun(permit.object);
    await this.#credits.requireNone(permit.object);
    await this.#resumes.require(permit, begun);
    await this.#statuses.require(permit.licence, begun);
    // Another node may begin the object meanwhile.
    if (!begun && (await this.#begin(verified, permitId))) return true;
    return this.#continue(verified, permitId);
  }

  /** @returns false if the object has begun meanwhile */
  async #begin(
    { permit, request, spool, transfers, period, member }: VerifiedOpening,
    permitId: string,
  ): Promise<boolean> {
    const { print, object, machine, licence, design } = permit;
    const { run, from } = request;
    await this.#transfers.take(licence, transfers);
    await this.#requireNoAlarm(permit);
    if (member !== undefined) await this.#groups.use(machine, member);
    if (spool !== undefined) await this.#spools.use(spool);
    // The print first, so that a process that is killed in between starts the same object again.
    if (!(await this.#prints.create(print, { object })) && (await this.#prints.require(print)).object !== object)
      throw new MillraceError('E_REPLAY', 'the print was already used for another object');
    if (period !== undefined)
      await this.#periods.take({
        ...{ licence, period, name: object },
        begun: (last) => this.begun(last),
        credited: () => this.#creditedIn(licence, period.number),
      });
    const record = {
      ...{ print, run, machine, licence, design, permits: [permitId], alarmed: false },
      ...(period && { period: period.number }),
    };
    return this.#objects.create(object, { ...record, reached: from, given: 0, again: 0, late: 0 });
  }

  /** Records another permit of an object that has begun. @returns false when the permit was already used */
  async #continue({ permit, request }: VerifiedOpening, permitId: string): Promise<boolean> {
    const { print, object, machine } = permit;
    const { run, from } = request;
    let isNew = false;
    await this.#objects.update(object, (known) => {
      if (known.alarmed) throw new MillraceError('E_ALARM', 'the stream of this object is in the alarm state');
      isNew = !known.permits.includes(permitId);
      if (!isNew) return known;
      if (known.print !== print || known.machine !== machine || Buffer.compare(known.run, run) !== 0)
        throw new MillraceError('E_REPLAY', 'the object was already streamed for another print or run');
      if (from < known.reached) throw alreadyPast(from, known.reached);
      return { ...known, permits: [...known.permits, permitId].slice(-1_000), reached: from };
    });
    return isNew;
  }

  /** Records that the machine has acknowledged every segment below `acked`. */
  reach(object: string, acked: number): Promise<void> {
    return this.#serially(object, async () => {
      if (!(await this.begun(object))) return;
      await this.#objects.update(object, (known) => (acked > known.reached ? { ...known, reached: acked } : known));
    });
  }

  /**
   * Records a slice and the acknowledged segments before the slice is sent. A crash therefore loses no record of sent
   * segments, and at most one window of acknowledgements. Of several nodes that share the records, only the one that
   * used the newest permit gives: a node that was frozen while the stream went on at another gives nothing more.
   * @param permitId the permit of the stream
   * @throws {MillraceError} E_REPLAY when more segments are requested again than broken links can lose, E_ALARM,
   *   E_NOT_FOUND, E_LICENCE_REVOKED, E_CREDITED; E_UNAVAILABLE if a later permit of the object was used
   */
  give(object: string, permitId: string, delivery: Delivery): Promise<void> {
    return this.#serially(object, async () => {
      await this.#statuses.require(licenceOf(object), true);
      await this.#credits.requireNone(object);
      await this.#objects.update(object, (known) => {
        if (known.alarmed) throw new MillraceError('E_ALARM', 'the stream of this object is in the alarm state');
        if (known.permits.at(-1) !== permitId)
          throw new MillraceError('E_UNAVAILABLE', `a later session of object ${object} has begun`);
        return { ...known, ...countDelivery(known, delivery) };
      });
    });
  }

  alarm(object: string): Promise<void> {
    return this.#serially(object, async () => {
      const known = await this.#objects.get(object);
      if (known === undefined || known.alarmed) return;
      // The licence's block first, so that a process that is killed in between handles the alarm again.
      await this.#alarms.put(alarmKey(known, object), { object });
      await this.#objects.update(object, (now) => ({ ...now, alarmed: true }));
    });
  }

  /**
   * Applies the owner's clearance, which this node verifies. The object itself stays stopped.
   * @throws {MillraceError} E_NOT_FOUND, E_SIGNATURE, E_AUTH (another signer), E_FORBIDDEN
   */
  async clear(clearance: MessageOf<'alarm.clear'>, { directory, ownerOf }: OwnerLookup): Promise<void> {
    const { object } = clearance;
    const known = await this.#objects.get(object);
    if (known === undefined) throw new MillraceError('E_NOT_FOUND', `this node has not streamed object ${object}`);
    const found = await ownerOf(known.design);
    if (found === undefined) throw new MillraceError('E_NOT_FOUND', `no design ${known.design}`);
    const { body } = await verifyFor(ownerParty(found), 'designer', clearance, directory);
    if (body.type !== 'alarm.clear' || body.object !== object)
      throw new MillraceError('E_FORBIDDEN', 'not the owner’s clearance of this object');
    await this.#serially(object, () => this.#alarms.remove(alarmKey(known, object)));
  }

  #serially<T>(object: string, task: () => Promise<T>): Promise<T> {
    return this.#licences.run(licenceOf(object), task);
  }

  /**
   * Verifies and applies the owner's statement of how many objects are left after a restore.
   * @throws {MillraceError} as `verifyRemaining` and `ResumeRepository.take`
   */
  async resume(message: MessageOf<'licence.resume'>, options: OwnerLookup): Promise<void> {
    const remaining = await verifyRemaining(message, options);
    const { licence } = remaining.statement;
    // No credit in between, because the statement includes it or not.
    await this.#licences.run(licence, async () => this.#resumes.take(remaining, await this.#credits.count(licence)));
  }

  /** Number of the licence's objects that are possible beyond the grant, by credits of its owner. */
  credits(licence: string): Promise<number> {
    return this.#credits.count(licence);
  }

  /**
   * Verifies and applies the credit of a failed object, which is final from now on. Control can deliver an earlier
   * credit after the owner's statement of the objects left: that number includes the credit, which adds none then.
   * @throws {MillraceError} as `verifyCredit`; for a credit by policy E_QUOTA, and E_FORBIDDEN if this node began the
   *   object for another run
   */
  async credit(message: MessageOf<'case.credit'>, options: OwnerLookup): Promise<string> {
    const { object, issued, failure, terms } = await verifyCredit(message, options);
    await this.#serially(object, async () => {
      if (failure !== undefined) await this.#requireRunOf(object, failure);
      if (await this.#credits.has(object)) return;
      const policy = failure && terms.creditPolicy;
      if (policy !== undefined) await this.#credits.requireLeft(object, policy);
      const included = (await this.#resumes.includes(toHex(terms.id), issued)) || undefined;
      if (!included) await this.#resumes.credit(object);
      await this.#credits.take(object, { byPolicy: policy && true, included });
    });
    return object;
  }

  async #requireRunOf(object: string, { machine, report }: EarlyFailure): Promise<void> {
    const known = await this.#objects.get(object);
    if (known !== undefined && !(known.machine === machine && equalBytes(known.run, report.run)))
      throw new MillraceError('E_FORBIDDEN', 'the report is of another run than that of the object');
  }

  /**
   * Verifies and applies the owner's statement that suspends, reinstates or revokes a licence.
   * @throws {MillraceError} as `verifyLicenceStatement`
   */
  async setStatus(
    message: MessageOf<'licence.status'>,
    options: OwnerLookup,
  ): Promise<{ readonly licence: string; readonly status: LicenceStatus }> {
    const { licence, statement } = await verifyLicenceStatement(message, options);
    const status = await this.#licences.run(licence, () => this.#statuses.take(licence, statement));
    return { licence, status };
  }

  /**
   * Verifies and records the transfers of a licence.
   * @throws {MillraceError} as `verifyTransfers`, and E_LICENCE_INVALID for another chain than the one that is known
   */
  async transfer(
    message: MessageOf<'licence.amend'>,
    lookup: DesignLookup,
  ): Promise<{ readonly licence: string; readonly transfers: readonly string[] }> {
    const { licence, transfers } = await verifyTransfers(message, lookup);
    await this.#licences.run(licence, () => this.#transfers.take(licence, transfers));
    return { licence, transfers };
  }

  /** Number of the licence's credited objects that began in a period. */
  async #creditedIn(licence: string, period: number): Promise<number> {
    let count = 0;
    for (const object of await this.#credits.list(licence))
      if ((await this.#objects.get(object))?.period === period) count++;
    return count;
  }

  /**
   * Verifies and records the members of a group, as its organisation states them.
   * @throws {MillraceError} as `verifyGroup`, and E_CLOCK
   */
  async setGroup(
    { transaction, credential }: MessageOf<'group.set'>,
    directory: Directory,
    now: number,
  ): Promise<GroupStatement> {
    const group = await verifyGroup({ transaction, credential }, directory);
    requirePresent(group.body, now);
    await this.#groups.takeGroup(group);
    return group.body;
  }

  /**
   * Verifies and records which organisation holds a machine.
   * @throws {MillraceError} as `verifyAssignment`, and E_CLOCK
   */
  async assignMachine(
    { transaction }: MessageOf<'machine.assign'>,
    directory: Directory,
    now: number,
  ): Promise<TransactionOf<'machine.assign'>> {
    const assignment = await verifyAssignment(transaction, directory);
    requirePresent(assignment, now);
    await this.#groups.takeAssignment(assignment);
    return assignment;
  }

  async #requireNoAlarm({ licence, machine }: { licence: string; machine: string }): Promise<void> {
    const { records } = await this.#alarms.page({ prefix: alarmKey({ licence, machine }, ''), limit: 1 });
    for (const [, { object }] of records)
      throw new MillraceError('E_ALARM', `object ${object} of this licence raised an alarm on this machine`);
  }
}
