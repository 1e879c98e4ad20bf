import { toHex } from '@millrace/base';
import { holderParty, partyName } from './acting.ts';
import { readPermit, readTransaction, type TransactionOf } from './documents.ts';
import { licenceAccount } from './ledger-facts.ts';
import { numberOf } from './opening.ts';
import { periodAt, periodNumbered } from './prices.ts';
import type { UsageOutcome, UsageRecord } from './shapes.ts';

// Usage records are computed from the ledger's events, by control for its users and by the users' clients for
// themselves (spec/protocol.md, 5.10). Nobody stores them.

/** An event of the ledger with its place in the log. */
export interface UsageEvent {
  readonly index: number;
  readonly event: {
    readonly account: string;
    readonly type: string;
    /** ms since 1970, by control's clock. */
    readonly time: number;
    readonly body: Readonly<Record<string, unknown>>;
    readonly evidence?: readonly Uint8Array[] | undefined;
  };
}

interface Dated {
  readonly index: number;
  readonly time: number;
}
interface Permitted extends Dated {
  readonly object: string;
  /** Issue of the permit, which decides the period. */
  readonly issued: number;
}

const outcomes: Readonly<Record<string, UsageOutcome>> = {
  started: 'started',
  progressed: 'started',
  completed: 'completed',
  failed: 'failed',
  alarmed: 'alarmed',
};

/** What was used under one licence, and what it costs. */
export class LicenceUsage {
  readonly #licence: string;
  readonly #owner: string;
  readonly #terms: TransactionOf<'licence.grant'>;
  /** When the licence was written to the ledger, ms. */
  readonly #granted: number;
  readonly #permitted = new Map<string, Permitted>();
  readonly #outcomes = new Map<string, Dated & { readonly outcome: UsageOutcome }>();
  readonly #credits: (Dated & { readonly object: string })[] = [];
  readonly #transfers: (Dated & { readonly holder: string })[] = [];
  readonly #statuses: (Dated & { readonly active: boolean })[] = [];

  /**
   * @param licensed the first event of the licence's account, with its evidence
   * @param owner the organisation that owns the design, or the key name of an owner without one
   */
  constructor(licensed: UsageEvent, owner: string) {
    const [document] = licensed.event.evidence ?? [];
    const terms = document && readTransaction(document);
    if (terms?.type !== 'licence.grant') throw new TypeError('the event holds no licence');
    this.#terms = terms;
    this.#licence = toHex(terms.id);
    this.#owner = owner;
    this.#granted = licensed.event.time;
  }

  /** Adds another event of the licence or of its objects. Their order makes no difference; others are ignored. */
  take({ index, event: { account, type, time, body, evidence } }: UsageEvent): void {
    const at = { index, time };
    if (account === licenceAccount(this.#licence)) {
      if (type === 'transferred') this.#transfers.push({ ...at, holder: String(body.holder) });
      if (type === 'inspected' && (body.fact === 'suspended' || body.fact === 'revoked'))
        this.#statuses.push({ ...at, active: false });
      if (type === 'inspected' && body.fact === 'reinstated') this.#statuses.push({ ...at, active: true });
      return;
    }
    const [permit] = evidence ?? [];
    if (type === 'permitted' && permit !== undefined)
      this.#permitted.set(account, { ...at, object: account, issued: readPermit(permit).issued });
    if (type === 'credited') this.#credits.push({ ...at, object: account });
    const outcome = outcomes[type];
    if (outcome !== undefined && (this.#outcomes.get(account)?.index ?? -1) < index)
      this.#outcomes.set(account, { ...at, outcome });
  }

  /** Numbers of the objects that were permitted. */
  get numbers(): ReadonlySet<number> {
    return new Set([...this.#permitted.keys()].map((object) => numberOf(object)));
  }

  get transferred(): boolean {
    return this.#transfers.length > 0;
  }

  /**
   * All records, ordered by time and place in the log.
   * @param now time until which periods are charged, ms
   */
  records(now: number): UsageRecord[] {
    const charges = [
      ...[...this.#permitted.values()].map((object) => ({ kind: 'object' as const, ...object })),
      ...this.#credits.map((credit) => ({ kind: 'credit' as const, ...credit })),
    ].sort((one, other) => one.index - other.index);
    const { price } = this.#terms;
    /** Objects of each period, less its credited ones. */
    const used = new Map<number, number>();
    const records: UsageRecord[] = this.#fees(now);
    for (const { kind, index, time, object } of charges) {
      const permit = this.#permitted.get(object);
      if (permit === undefined) continue;
      const common = { kind, ...this.#parties(index), time, index, object };
      const outcome = kind === 'object' ? { outcome: this.#outcomes.get(object)?.outcome ?? 'permitted' } : {};
      const sign = kind === 'object' ? 1 : -1;
      if (price?.per !== 'period') {
        const charged = price === undefined ? { amount: 0 } : { currency: price.currency, amount: price.amount * sign };
        records.push({ ...common, ...outcome, ...charged });
        continue;
      }
      const period = periodAt(price, permit.issued) ?? periodNumbered(price, 1);
      const before = used.get(period.number) ?? 0;
      used.set(period.number, before + sign);
      // An object beyond the quota is charged. A credit takes back the last charge, if there is one.
      const place = Math.max(before, before + sign);
      const amount = place > price.quota ? (price.overage ?? 0) * sign : 0;
      records.push({ ...common, ...outcome, period, place, currency: price.currency, amount: amount || 0 });
    }
    return records.sort((one, other) => one.time - other.time || (one.index ?? -1) - (other.index ?? -1));
  }

  /** A record for each period that has begun, unless the licence was suspended or revoked at its begin. */
  #fees(now: number): UsageRecord[] {
    const { price, notAfter } = this.#terms;
    if (price?.per !== 'period') return [];
    const { currency, amount } = price;
    const fees: UsageRecord[] = [];
    const end = Math.min(now, notAfter);
    for (let period = periodNumbered(price, 1); period.from <= end; period = periodNumbered(price, period.number + 1)) {
      const time = Math.max(period.from, this.#granted);
      const before = (other: Dated) => other.time <= time;
      if (newest(this.#statuses, before)?.active === false) continue;
      const parties = this.#parties(newest(this.#transfers, before)?.index ?? -1);
      fees.push({ kind: 'period', ...parties, time, period, currency, amount });
    }
    return fees;
  }

  /** @param index place in the log */
  #parties(index: number) {
    const transfer = newest(this.#transfers, (other) => other.index <= index);
    const holder = transfer?.holder ?? partyName(holderParty(this.#terms.holder));
    return { licence: this.#licence, owner: this.#owner, holder };
  }
}

/** The last one in the log of those that meet a condition. */
function newest<T extends Dated>(list: readonly T[], condition: (each: T) => boolean): T | undefined {
  return list
    .filter(condition)
    .reduce<T | undefined>((last, each) => (last === undefined || each.index > last.index ? each : last), undefined);
}

/** A sum of amounts in one currency. */
interface UsageTotal {
  /** Objects that are charged or included: permitted and not credited. */
  readonly objects: number;
  readonly credits: number;
  readonly currency: string | undefined;
  readonly amount: bigint;
}

/** Sums records by the names that `group` gives and by currency, in the order in which these appear. */
export class UsageTotals<G extends object> {
  readonly #totals = new Map<string, G & UsageTotal>();
  readonly #group: (record: UsageRecord) => G;

  constructor(group: (record: UsageRecord) => G) {
    this.#group = group;
  }

  add(records: Iterable<UsageRecord>): this {
    for (const record of records) {
      const { kind, currency } = record;
      const names = this.#group(record);
      const key = JSON.stringify([names, currency]);
      const { objects, credits, amount } = this.#totals.get(key) ?? { objects: 0, credits: 0, amount: 0n };
      this.#totals.set(key, {
        ...names,
        currency,
        objects: objects + (kind === 'object' ? 1 : kind === 'credit' ? -1 : 0),
        credits: credits + (kind === 'credit' ? 1 : 0),
        amount: amount + BigInt(record.amount),
      });
    }
    return this;
  }

  list(): (G & UsageTotal)[] {
    return [...this.#totals.values()];
  }
}

/** A difference between records that somebody shows and those that follow from the ledger. */
export interface UsageDifference {
  /** What the record is about: the object, the credit or the period. */
  readonly what: string;
  readonly shown: UsageRecord | undefined;
  readonly computed: UsageRecord | undefined;
}

/** Compares records one by one. */
export function compareUsage(shown: readonly UsageRecord[], computed: readonly UsageRecord[]): UsageDifference[] {
  const differences: UsageDifference[] = [];
  const expected = new Map(computed.map((record) => [usageName(record), record]));
  for (const record of shown) {
    const what = usageName(record);
    const own = expected.get(what);
    // A second record of the same thing has no counterpart.
    expected.delete(what);
    if (own === undefined || canonical(own) !== canonical(record))
      differences.push({ what, shown: record, computed: own });
  }
  for (const [what, record] of expected) differences.push({ what, shown: undefined, computed: record });
  return differences;
}

function usageName({ kind, licence, object, period, index }: UsageRecord): string {
  if (kind === 'period') return `period ${period?.number} of licence ${licence}`;
  return `${kind === 'credit' ? 'credit of object' : 'object'} ${object} (entry ${index})`;
}

const canonical = (record: UsageRecord): string =>
  JSON.stringify(
    Object.entries({ ...record, period: record.period && Object.entries(record.period).sort() })
      .filter(([, value]) => value !== undefined)
      .sort(),
  );
