import { type CsvCell, siteReport as readReport, type SiteFinding, type SiteReport } from '@millrace/client';
import type { Odometer } from '@millrace/protocol';
import { writeCsvFile } from '../output/csv.ts';
import { formatFields, formatTable } from '../output/format.ts';
import { createProgress } from '../output/progress.ts';
import { type Context, withSession } from './context.ts';
import { machineNamed } from './machine-names.ts';
import { dayOf } from './price.ts';

export interface SiteReportOptions {
  readonly machine: string;
  readonly from?: string;
  readonly to?: string;
  readonly csv?: string;
}

/** Exit code of a report with findings, as for damaged data. */
const FINDINGS = 6;

/** Shows what went into a machine and what came out. @returns the exit code */
export function siteReport(context: Context, options: SiteReportOptions): Promise<number> {
  return withSession(context, 'operator', async (session) => {
    const { machine } = await machineNamed(session, options.machine);
    const period = {
      from: options.from === undefined ? undefined : dayOf(options.from, '--from'),
      to: options.to === undefined ? undefined : dayOf(options.to, '--to'),
    };
    const progress = createProgress(context.terminal, 'ledger');
    const report = await readReport(session, machine, period, (done, total) => progress.update(done, total)).finally(
      () => progress.finish(),
    );
    const { audit, ...shown } = report;
    const csv = options.csv === undefined ? undefined : context.path(options.csv);
    if (csv !== undefined) await writeCsvFile(csv, rowsOf(report));
    context.terminal.result(
      { ok: report.findings.length === 0, ...shown, entries: audit.size, opened: audit.opened },
      [...text(report), ...(csv === undefined ? [] : [`Wrote ${csv}`])].join('\n'),
    );
    return report.findings.length === 0 ? 0 : FINDINGS;
  });
}

function text({ machine, serial, stays, prints, odometer, printed, findings, audit }: SiteReport): string[] {
  return [
    `Machine ${serial} (${machine})`,
    stays.length === 0
      ? 'No spool was loaded by a statement that you may read.'
      : formatTable(
          ['spool', 'material', 'serial', 'certified by', 'loaded', 'g', 'unloaded', 'g', 'reported g'],
          stays.map(({ spool, content, loaded, unloaded, left, reported }) => [
            ...[spool, content.name, content.serial ?? '-', content.supplier ?? 'nobody'],
            ...[timeOf(loaded.at), textOf(loaded.left), timeOf(unloaded?.at) || 'is loaded', textOf(left)],
            String(reported),
          ]),
        ),
    prints.length === 0
      ? 'No print that you may read has ended.'
      : formatTable(
          ['object', 'ended', 'outcome', 'spool', 'm', 'g'],
          prints.map(({ object, time, completed, used }) => [
            ...[object, timeOf(time), completed ? 'completed' : 'failed', used?.spool ?? '-'],
            ...[textOf(used?.metres), textOf(used?.grams)],
          ]),
        ),
    odometer === undefined
      ? 'The machine has stated no odometer that you may read.'
      : formatFields(
          [
            ['odometer at begin', odometerText(odometer.begin)],
            ['odometer at end', odometerText(odometer.end)],
            ['difference', odometerText(odometer.difference)],
            ['by the prints', `${printed.metres} m, ${printed.grams} g`],
          ],
          '  ',
        ),
    findings.length === 0
      ? `Everything agrees: ${audit.size} entries of the ledger, ${audit.opened} opened.`
      : `${findings.length} findings:`,
    ...findings.map((finding) => `  ${findingText(finding)}`),
    'Not in this report: spools that were moved or changed without a statement, and prints that you may not read.',
  ];
}

/** One table with four kinds of rows. */
function rowsOf({ stays, prints, odometer, findings }: SiteReport): CsvCell[][] {
  const head = [
    ...['kind', 'about', 'time', 'until', 'material', 'serial', 'certified by', 'loaded by', 'outcome', 'spool'],
    ...['grams at begin', 'grams at end', 'grams', 'metres', 'minutes', 'objects begun', 'objects ended', 'finding'],
    ...['unit', 'expected', 'found', 'entry'],
  ];
  const row = (cells: Readonly<Record<string, CsvCell>>): CsvCell[] => head.map((name) => cells[name]);
  const stated =
    odometer &&
    ([
      ['odometer at begin', odometer.begin],
      ['odometer at end', odometer.end],
    ] as const);
  return [
    head,
    ...stays.map(({ spool, content, loaded, unloaded, left, reported }) =>
      row({
        ...{ kind: 'spool', about: spool, time: timeOf(loaded.at), until: timeOf(unloaded?.at) },
        ...{ material: content.name, serial: content.serial, 'certified by': content.supplier },
        ...{ 'loaded by': loaded.by, 'grams at begin': loaded.left, 'grams at end': left, grams: reported },
      }),
    ),
    ...prints.map(({ object, index, time, completed, used }) =>
      row({
        ...{ kind: 'print', about: object, time: timeOf(time), outcome: completed ? 'completed' : 'failed' },
        ...{ spool: used?.spool, grams: used?.grams, metres: used?.metres, entry: index },
      }),
    ),
    ...(stated ?? []).map(([kind, { minutes, metres, grams, started, ended }]) =>
      row({ kind, minutes, metres, grams, 'objects begun': started, 'objects ended': ended }),
    ),
    ...findings.map(({ about, what, unit, expected, found }) =>
      row({ kind: 'finding', about, finding: what, unit, expected, found }),
    ),
  ];
}

const findingText = ({ about, what, unit, expected, found }: SiteFinding): string =>
  `${about}: ${what}: ${expected} ${unit} expected, ${found} found`;

const odometerText = ({ minutes, metres, grams, started, ended }: Odometer): string =>
  `${(minutes / 60).toFixed(1)} h, ${metres} m, ${grams} g, ${started} objects begun, ${ended} ended`;

const textOf = (amount: number | undefined): string => (amount === undefined ? '-' : String(amount));
const timeOf = (time: number | undefined): string => (time === undefined ? '' : new Date(time).toISOString());
