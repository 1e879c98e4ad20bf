import { everyPage, MAX_LIMIT } from '@millrace/api';
import { formatCsv, usageRows } from '@millrace/client';
import { UsageTotals } from '@millrace/protocol';
import type { UsageRecord } from '@millrace/protocol/shapes';
import { useState } from 'preact/hooks';
import { CasesCard } from './cases-card.tsx';
import { Confirmed } from './confirmed.tsx';
import { useLoaded } from './loaded.ts';
import { Card, Shown } from './parts.tsx';
import { readOrganisations } from './reading.ts';
import { api } from './server.ts';
import { Table } from './table.tsx';
import { usageWords } from './usage-words.ts';
import { formatCount, formatDay, formatMoney, formatTime } from './words.ts';

interface Span {
  /** Days, as the browser writes them: "2026-11-29". Empty: no limit. */
  readonly from: string;
  readonly to: string;
}

/** Midnight where the person is. */
const startOf = (day: string) => (day === '' ? undefined : new Date(`${day}T00:00`).getTime());

async function read({ from, to }: Span) {
  const records: UsageRecord[] = [];
  let [size, at] = [0, 0];
  for (let cursor: string | undefined, first = true; first || cursor !== undefined; first = false) {
    const page = await api.usage.list({ from: startOf(from), to: startOf(to), cursor, limit: MAX_LIMIT });
    records.push(...page.items);
    ({ size, at } = page);
    cursor = page.next;
  }
  const cases = await everyPage((cursor) => api.cases.list({ cursor }));
  return { records, size, at, cases };
}

/** What is owed, and failed objects with their credits. */
export function UsagePage() {
  const w = usageWords.value;
  const [span, setSpan] = useState<Span>({ from: '', to: '' });
  const loaded = useLoaded(`usage-${span.from}-${span.to}`, () => read(span));
  return (
    <>
      <h1>{w.title}</h1>
      <p>{w.text}</p>
      <div class="row">
        {(['from', 'to'] as const).map((end) => (
          <label key={end}>
            {w[end]}
            <input
              type="date"
              value={span[end]}
              onChange={(event) => setSpan({ ...span, [end]: event.currentTarget.value })}
            />
          </label>
        ))}
      </div>
      <Shown loaded={loaded}>
        {({ records, size, at, cases }) => (
          <>
            <Card title={w.totals}>
              <p class="quiet small">{w.asOf(formatCount(size), formatTime(at))}</p>
              <Totals records={records} />
            </Card>
            <CasesCard cases={cases} again={loaded.again} />
          </>
        )}
      </Shown>
    </>
  );
}

function Totals({ records }: { readonly records: readonly UsageRecord[] }) {
  const w = usageWords.value;
  const totals = new UsageTotals(({ licence, period }) => ({ licence, period })).add(records).list();
  if (totals.length === 0) return <p>{w.nothing}</p>;
  return (
    <>
      <Table
        label={w.totals}
        columns={[w.licence, w.period, w.objects, w.credited, w.amount]}
        rows={totals.map(({ licence, period, objects, credits, currency, amount }) => [
          <span class="mono">{licence.slice(0, 8)}</span>,
          period === undefined ? '–' : `${formatDay(period.from)} – ${formatDay(period.to)}`,
          formatCount(objects),
          formatCount(credits),
          currency === undefined ? '–' : formatMoney(Number(amount), currency),
        ])}
      />
      <Confirmed label={w.csv} act={() => save(records)} />
    </>
  );
}

/** Saves the records as a file, with the names of the organisations. */
async function save(records: readonly UsageRecord[]): Promise<void> {
  const names = new Map((await readOrganisations()).map(({ organisation, name }) => [organisation, name]));
  const text = formatCsv(await usageRows(records, async (party) => names.get(party) ?? party));
  const address = URL.createObjectURL(new Blob([text], { type: 'text/csv' }));
  const link = document.createElement('a');
  link.href = address;
  link.download = 'millrace-usage.csv';
  link.click();
  // The browser reads the address after the click.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
