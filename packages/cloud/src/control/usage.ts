import type { Page, UsageQuery, UsageSpan, UsageTotalView } from '@millrace/api';
import { MillraceError } from '@millrace/base';
import { LicenceUsage, licenceAccount, objectId, type UsageRecord, UsageTotals } from '@millrace/protocol';
import { type Actor, permits } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import type { LicenceRecord } from './licence-records.ts';
import { countClaims } from './permits.ts';
import { groupOf } from './views.ts';

/** Maximum number of licences examined for one page. */
const MAX_LICENCES = 50;
/** Default of `maxObjects`. */
const MAX_OBJECTS = 1_000;
/** Licences whose records are kept for the next page. */
const KEPT = 4;
/** Lists that begin within this time show the same part of the ledger, unless it has grown. They share the records. */
const SHARED_MS = 10_000;

/** The part of the ledger that a list shows. */
interface Snapshot {
  /** Number of entries. */
  readonly size: number;
  /** Time until which periods are charged, ms. */
  readonly at: number;
}

/** What a snapshot shows of one licence. */
interface Computed {
  readonly records: readonly UsageRecord[];
  /** Number of objects whose events were read. */
  readonly objects: number;
}

/** Where a page begins. */
interface Position extends Snapshot {
  /** Place in the index of the party's licences: those before are done. Base64url, empty at the beginning. */
  readonly after: string;
  /** Number of records of the next licence that are done. */
  readonly skip: number;
}

/** Computes usage records from the ledger. */
export class UsageReader {
  readonly #context: ControlContext;
  readonly #maxObjects: number;
  /** The licences that were read last, for the next page and for other lists. */
  readonly #kept = new Map<string, Promise<Computed>>();
  #newest: Snapshot | undefined;

  /** @param options.maxObjects a page ends after the licence with which it has read the events of so many objects */
  constructor(context: ControlContext, { maxObjects = MAX_OBJECTS }: { readonly maxObjects?: number } = {}) {
    this.#context = context;
    this.#maxObjects = maxObjects;
  }

  /**
   * Records of the licences that the actor's party has granted, and the party's own records of those that it holds. All
   * pages of a list show the same part of the ledger.
   * @throws {MillraceError} E_INPUT (cursor)
   */
  async page(
    actor: Actor,
    { limit, cursor, licence: only, ...span }: UsageQuery,
  ): Promise<Page<UsageRecord> & Snapshot> {
    const newest = this.#snapshot();
    let position: Position = cursor === undefined ? { ...newest, after: '', skip: 0 } : readCursor(cursor, newest);
    const { size, at } = position;
    const items: UsageRecord[] = [];
    let read = 0;
    for (let examined = 0; examined < MAX_LICENCES && read < this.#maxObjects; examined++) {
      const { licence, next } = await this.#licenceAfter(actor, only, position);
      const { records, objects } =
        licence === undefined ? nothing : await this.#visible(actor, licence, position, span);
      read += objects;
      const skip = Math.min(records.length, position.skip + limit - items.length);
      items.push(...records.slice(position.skip, skip));
      if (skip < records.length) return { items, next: writeCursor({ ...position, skip }), size, at };
      if (next === undefined) return { items, size, at };
      position = { size, at, after: next, skip: 0 };
    }
    return { items, next: writeCursor(position), size, at };
  }

  /** Sums of all owners. */
  async totals(span: UsageSpan): Promise<UsageTotalView[]> {
    const { records, ledger, clock, damaged } = this.#context;
    const totals = new UsageTotals(({ owner }) => ({ owner }));
    for await (const [id, licence] of records.licences.list())
      await damaged.attempt('licence', id, async () => {
        totals.add(within((await this.#compute(licence, { size: ledger.size, at: clock.now() })).records, span));
      });
    return totals.list().map(({ amount, ...total }) => ({ ...total, amount: String(amount) }));
  }

  #snapshot(): Snapshot {
    const { ledger, clock } = this.#context;
    const newest = { size: ledger.size, at: clock.now() };
    const age = this.#newest === undefined ? SHARED_MS : newest.at - this.#newest.at;
    if (this.#newest?.size !== newest.size || age < 0 || age >= SHARED_MS) this.#newest = newest;
    return this.#newest;
  }

  async #licenceAfter(
    actor: Actor,
    only: string | undefined,
    { after }: Position,
  ): Promise<{ licence?: LicenceRecord | undefined; next?: string }> {
    const { licences } = this.#context.records;
    if (only !== undefined) return { licence: await licences.get(only) };
    const { records, next } = await licences.page({
      ...{ index: 'party', group: groupOf(actor), limit: 1 },
      ...(after !== '' && { after: Buffer.from(after, 'base64url') }),
    });
    return { licence: records[0]?.[1], ...(next && { next: Buffer.from(next).toString('base64url') }) };
  }

  async #visible(actor: Actor, licence: LicenceRecord, snapshot: Snapshot, span: UsageSpan): Promise<Computed> {
    const { owner } = licence;
    if (!permits(actor, 'usage.read', licence)) return nothing;
    let { records, objects }: Computed = nothing;
    await this.#context.damaged.attempt('licence', licence.licence, async () => {
      ({ records, objects } = await this.#keep(licence, snapshot));
    });
    // A holder does not see what former holders used.
    const all = permits(actor, 'usage.read', { owner });
    return { objects, records: within(records, span).filter(({ holder }) => all || holder === groupOf(actor)) };
  }

  async #keep(licence: LicenceRecord, { size, at }: Snapshot): Promise<Computed> {
    const key = `${licence.licence}/${size}/${at}`;
    const computed = this.#kept.get(key) ?? this.#compute(licence, { size, at });
    this.#kept.delete(key);
    this.#kept.set(key, computed);
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > KEPT && oldest !== undefined) this.#kept.delete(oldest);
    try {
      return await computed;
    } catch (error) {
      this.#kept.delete(key);
      throw error;
    }
  }

  async #compute(licence: LicenceRecord, { size, at }: Snapshot): Promise<Computed> {
    const { ledger } = this.#context;
    const [licensed, ...later] = await ledger.account(licenceAccount(licence.licence));
    if (licensed === undefined || licensed.index >= size) return nothing;
    const usage = new LicenceUsage(licensed, licence.owner);
    const take = (events: typeof later) => {
      for (const logged of events) if (logged.index < size) usage.take(logged);
    };
    take(later);
    const last = await countClaims(this.#context, licence);
    for (let number = 1; number <= last; number++) take([...(await ledger.account(objectId(licence.licence, number)))]);
    return { records: usage.records(at), objects: last };
  }
}

const nothing: Computed = { records: [], objects: 0 };

const within = (records: readonly UsageRecord[], { from = 0, to = Number.POSITIVE_INFINITY }: UsageSpan) =>
  records.filter(({ time }) => from <= time && time < to);

const writeCursor = ({ size, at, skip, after }: Position): string => [size, at, skip, after].join('.');

function readCursor(cursor: string, newest: Snapshot): Position {
  const [, size, at, skip, after = ''] = /^(\d{1,16})\.(\d{1,16})\.(\d{1,16})\.([\w-]*)$/.exec(cursor) ?? [];
  if (size === undefined) throw new MillraceError('E_INPUT', 'cursor: not one of a list of usage');
  return {
    size: Math.min(Number(size), newest.size),
    at: Math.min(Number(at), newest.at),
    ...{ skip: Number(skip), after },
  };
}
