import { fromHex, MillraceError, parse, utf8 } from '@millrace/base';
import { type LoggedEvent, openCheckpoint, parseVerifierKey } from '@millrace/ledger';
import {
  CLOCK_SKEW_MS,
  compareUsage,
  LicenceUsage,
  licenceOf,
  logKeysOf,
  ownerParty,
  partyName,
  type UsageDifference,
  type UsageRecord,
} from '@millrace/protocol';
import { readCore } from '@millrace/vault';
import { z } from 'zod';
import { type AuditResult, auditLedger } from './audit.ts';
import { OwnObjects } from './audit-objects.ts';
import { ownParty } from './people.ts';
import type { Session } from './session.ts';
import { readJson } from './storage.ts';

const CHECKED = 'usage.json';
/** Number of objects of each licence that the ledger opened at the last check. */
const checkedSchema = z.record(
  z.string(),
  z.strictObject({ objects: z.number().int().nonnegative(), owned: z.boolean() }),
);

export interface UsageFilter {
  /** Full identifier. */
  readonly licence?: string | undefined;
  /** Identifier of an organisation, or key name: the owner or the holder of the records. */
  readonly party?: string | undefined;
  /** `from` ≤ time < `to`, ms since 1970. */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
}

/** Usage records as control computes them. */
export async function readUsage(session: Session, filter: UsageFilter): Promise<UsageRecord[]> {
  return (await shownUsage(session, filter)).records;
}

export interface UsageCheck {
  /** Computed by this client from the ledger. */
  readonly records: readonly UsageRecord[];
  /** Records of control that do not follow from the ledger, and those that control left out. */
  readonly differences: readonly UsageDifference[];
  /** Objects that the ledger opened at an earlier check, and does not open now: their number for each licence. */
  readonly hidden: readonly { readonly licence: string; readonly objects: number }[];
  /** Objects without a permit, below one with a permit. They never began, or control hides them. */
  readonly gaps: readonly string[];
  /** Transferred subscriptions: only the owner can compute whether an object is beyond the quota. */
  readonly uncertain: readonly string[];
  readonly audit: AuditResult;
}

/**
 * Computes usage records from the ledger and compares them with control's. Audits the whole ledger first, with the
 * signed documents of all objects that the user may read, so that control can neither add an object that nobody ordered
 * nor change a price.
 * @throws {MillraceError} as `auditLedger`; E_LEDGER_TRUNCATED for records of another part of the ledger than the one
 *   that control signs; E_CLOCK for records of another time
 */
export async function checkUsage(
  session: Session,
  filter: UsageFilter,
  progress: (done: number, total: number) => void,
): Promise<UsageCheck> {
  const { api, clock, directory, storage } = session;
  const logKey = logKeysOf(directory, clock.now()).map(parseVerifierKey);
  const { size: before } = openCheckpoint(await api.checkpoint(), { logKey });
  const { records: shown, size, at } = await shownUsage(session, filter);
  if (size < before) throw truncated(size, before);
  if (Math.abs(clock.now() - at) > CLOCK_SKEW_MS)
    throw new MillraceError('E_CLOCK', 'control charges periods until another time than now');

  const party = await ownParty(session);
  const [granted, held] = (['granted', 'held'] as const).map(
    (side) => new OwnObjects(directory.installation, party, fromHex(directory.adminKey), side),
  ) as [OwnObjects, OwnObjects];
  const licences = new OpenedLicences(size);
  const audit = await auditLedger(session, progress, (logged) => {
    for (const collector of [granted, held, licences]) collector.take(logged);
  });
  if (audit.size < size) throw truncated(audit.size, size);
  for (const side of [granted, held]) await side.verifyLicences();
  await held.verify(); // The audit has verified the others.
  const own = licences.of(partyName(party));
  const computed = own.flatMap(({ usage, all, party }) =>
    usage.records(at).filter(({ holder }) => all || holder === party),
  );
  const records = computed.filter(matching(filter));
  const uncertain = own.filter(({ all, usage }) => !all && usage.transferred).map(({ licence }) => licence);
  const certain = (record: UsageRecord): UsageRecord =>
    uncertain.includes(record.licence) && record.period !== undefined && record.kind !== 'period'
      ? { ...record, place: undefined, amount: 0 }
      : record;

  const known = parse(checkedSchema, (await readJson(storage, CHECKED)) ?? {}, CHECKED, 'E_CONFIG');
  const counts = Object.fromEntries(
    own.map(({ licence, usage, all }) => [licence, { objects: usage.numbers.size, owned: all }]),
  );
  const hidden = Object.entries(known).flatMap(([licence, { objects, owned }]) => {
    // A former holder does not see the licence any more.
    const lost = objects - (counts[licence]?.objects ?? (owned ? 0 : objects));
    return lost > 0 ? [{ licence, objects: lost }] : [];
  });
  if (hidden.length === 0) await storage.replace(CHECKED, utf8(`${JSON.stringify({ ...known, ...counts })}\n`));
  return {
    records,
    differences: compareUsage(shown.map(certain), records.map(certain)),
    hidden,
    gaps: own.flatMap(({ licence, usage, all }) =>
      all || !usage.transferred ? missingNumbers(usage.numbers).map((number) => `${licence}-${number}`) : [],
    ),
    uncertain,
    audit,
  };
}

async function shownUsage({ api }: Session, filter: UsageFilter) {
  const { licence, from, to } = filter;
  const usage = await api.usage({ licence, from, to });
  return { ...usage, records: usage.records.filter(matching(filter)) };
}

function matching({ licence, party, from = 0, to = Number.POSITIVE_INFINITY }: UsageFilter) {
  return (record: UsageRecord): boolean =>
    (licence === undefined || record.licence === licence) &&
    (party === undefined || record.owner === party || record.holder === party) &&
    from <= record.time &&
    record.time < to;
}

/** Licences that control opens to the user, by the first entries of the ledger. */
class OpenedLicences {
  readonly #licences = new Map<string, { readonly owner: string; readonly usage: LicenceUsage }>();
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  take(logged: LoggedEvent): void {
    if (logged.index >= this.#size) return;
    const { account, type, evidence = [] } = logged.event;
    const licence = account.startsWith('licence:') ? account.slice(8) : licenceOf(account);
    const [, , core] = evidence;
    if (type === 'licensed' && core !== undefined) {
      const owner = partyName(ownerParty(readCore(core)));
      this.#licences.set(licence, { owner, usage: new LicenceUsage(logged, owner) });
    } else this.#licences.get(licence)?.usage.take(logged);
  }

  /** Those of which the party sees records: all as the owner, its own as a holder. */
  of(party: string) {
    return [...this.#licences].map(([licence, { owner, usage }]) => ({ licence, usage, party, all: owner === party }));
  }
}

function missingNumbers(numbers: ReadonlySet<number>): number[] {
  const last = Math.max(0, ...numbers);
  return Array.from({ length: last }, (_, i) => i + 1).filter((number) => !numbers.has(number));
}

function truncated(shorter: number, longer: number): MillraceError {
  return new MillraceError(
    'E_LEDGER_TRUNCATED',
    `control shows ${shorter} entries of the ledger, and has shown ${longer} before`,
  );
}
