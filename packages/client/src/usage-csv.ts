import type { UsageRecord } from '@millrace/protocol';
import type { CsvCell } from './csv.ts';

const timeOf = (time: number | undefined): string => (time === undefined ? '' : new Date(time).toISOString());

/** Usage records as a table with a head. @param nameOf of an organisation, or of a key without one */
export async function usageRows(
  records: readonly UsageRecord[],
  nameOf: (party: string) => Promise<string>,
): Promise<CsvCell[][]> {
  const head = [
    ...['time', 'kind', 'licence', 'object', 'outcome', 'owner', 'owner name', 'holder', 'holder name'],
    ...['period', 'period from', 'period to', 'place', 'currency', 'amount in minor units', 'entry'],
  ];
  const rows: CsvCell[][] = [head];
  for (const { time, kind, licence, object, outcome, owner, holder, period, place, currency, amount, index } of records)
    rows.push([
      ...[timeOf(time), kind, licence, object, outcome, owner, await nameOf(owner)],
      ...[holder, await nameOf(holder), period?.number, timeOf(period?.from), timeOf(period?.to)],
      ...[place, currency, amount, index],
    ]);
  return rows;
}
