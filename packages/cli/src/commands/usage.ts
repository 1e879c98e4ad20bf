import { MillraceError } from '@millrace/base';
import {
  checkUsage,
  createNames,
  pick,
  readUsage,
  type Session,
  type UsageCheck,
  type UsageFilter,
  usageRows,
} from '@millrace/client';
import { formatAmount, type UsageRecord, UsageTotals } from '@millrace/protocol';
import { writeCsvFile } from '../output/csv.ts';
import { formatTable } from '../output/format.ts';
import { createProgress } from '../output/progress.ts';
import { type Context, withSession } from './context.ts';
import { dayOf } from './price.ts';

export interface UsageOptions {
  readonly licence?: string;
  readonly org?: string;
  readonly from?: string;
  readonly to?: string;
  readonly csv?: string;
  readonly check?: boolean;
  readonly all?: boolean;
}

/** Exit code of a check that found a difference, as for damaged data. */
const DIFFERS = 6;

/** Shows usage records. @returns the exit code */
export function usage(context: Context, options: UsageOptions): Promise<number> {
  const { all, check, csv, licence, org } = options;
  if (all && [check, csv, licence, org].some((option) => option !== undefined))
    throw new MillraceError('E_INPUT', '--all shows totals only: use it with --from and --to');
  return withSession(context, options.all === true ? 'admin' : 'owner', async (session) => {
    if (options.all === true) return showTotals(context, session, options);
    const filter = await filterOf(session, options);
    const check = options.check === true ? await checked(context, session, filter) : undefined;
    const records = check?.records ?? (await readUsage(session, filter));
    const names = createNames(session);
    if (options.csv !== undefined)
      await writeCsvFile(context.path(options.csv), await usageRows(records, (party) => names.party(party)));
    const totals = new UsageTotals(({ licence, period }) => ({ licence, period })).add(records).list();
    const ok = check === undefined ? undefined : check.differences.length === 0 && check.hidden.length === 0;
    context.terminal.result(
      {
        ...(check && { ok, differences: check.differences, hidden: check.hidden, gaps: check.gaps }),
        records,
        totals: totals.map(({ amount, ...total }) => ({ ...total, amount: String(amount) })),
      },
      [
        totals.length === 0
          ? 'Nothing was used.'
          : formatTable(
              ['licence', 'period', 'objects', 'credited', 'amount'],
              totals.map(({ licence, period, objects, credits, currency, amount }) => [
                licence,
                period === undefined ? '-' : `${dateOf(period.from)} to ${dateOf(period.to)}`,
                String(objects),
                String(credits),
                currency === undefined ? '-' : formatAmount(amount, currency),
              ]),
            ),
        ...(check === undefined ? [] : verdict(check)),
        ...(options.csv === undefined ? [] : [`Wrote ${records.length} records to ${context.path(options.csv)}`]),
      ].join('\n'),
    );
    return ok === false ? DIFFERS : 0;
  });
}

async function filterOf(session: Session, { licence, org, from, to }: UsageOptions): Promise<UsageFilter> {
  const { api } = session;
  return {
    licence: licence && pick('licence', licence, await api.licences(), (view) => [view.licence]).licence,
    party:
      org &&
      pick('organisation', org, await api.organisations(), (view) => [view.organisation, view.name]).organisation,
    from: from === undefined ? undefined : dayOf(from, '--from'),
    to: to === undefined ? undefined : dayOf(to, '--to'),
  };
}

function checked({ terminal }: Context, session: Session, filter: UsageFilter): Promise<UsageCheck> {
  const progress = createProgress(terminal, 'ledger');
  return checkUsage(session, filter, (done, total) => progress.update(done, total)).finally(() => progress.finish());
}

function verdict({ differences, hidden, gaps, uncertain, audit }: UsageCheck): string[] {
  const amountOf = (record: UsageRecord | undefined) =>
    record === undefined
      ? 'nothing'
      : record.currency === undefined
        ? 'a record without a price'
        : formatAmount(record.amount, record.currency);
  return [
    differences.length === 0 && hidden.length === 0
      ? `The records follow from the ledger, entry by entry: ${audit.size} entries, ${audit.opened} opened.`
      : 'The records do NOT follow from the ledger:',
    ...differences.map(
      ({ what, shown, computed }) => `  ${what}: control shows ${amountOf(shown)}, the ledger ${amountOf(computed)}`,
    ),
    ...hidden.map(({ licence, objects }) => `  licence ${licence}: ${objects} objects that were there are hidden`),
    ...gaps.map((object) => `Not in the ledger: object ${object}. It never began, or control hides it.`),
    ...uncertain.map(
      (licence) => `Licence ${licence} was transferred: only its owner can check what is beyond the quota.`,
    ),
  ];
}

async function showTotals(context: Context, { api }: Session, { from, to }: UsageOptions): Promise<number> {
  const totals = await api.usageTotals({
    from: from === undefined ? undefined : dayOf(from, '--from'),
    to: to === undefined ? undefined : dayOf(to, '--to'),
  });
  context.terminal.result(
    { totals },
    formatTable(
      ['owner', 'objects', 'credited', 'amount'],
      totals.map(({ owner, objects, credits, currency, amount }) => [
        owner,
        String(objects),
        String(credits),
        currency === undefined ? '-' : formatAmount(BigInt(amount), currency),
      ]),
    ),
  );
  return 0;
}

const dateOf = (time: number): string => new Date(time).toISOString().slice(0, 10);
