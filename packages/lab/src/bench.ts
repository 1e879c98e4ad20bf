import { cpus, totalmem } from 'node:os';

/** One figure, over `runs` runs. */
export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly runs: number;
}

/** Ratio of two rows, run by run. Ratios are comparable between machines. */
export interface Ratio {
  readonly name: string;
  readonly of: string;
  readonly to: string;
  readonly median: number;
}

export interface Report {
  readonly machine: {
    readonly cpu: string;
    readonly cores: number;
    readonly memoryGiB: number;
    readonly node: string;
    readonly os: string;
  };
  readonly rows: readonly Row[];
  readonly ratios: readonly Ratio[];
}

/** What `--json` prints. */
export interface SavedReport extends Report {
  /** Name of the bench. */
  readonly bench: string;
  /** Day of the run, ISO 8601. */
  readonly date: string;
  /** Processes of the machine that wanted a core, mean of the minute before the run. */
  readonly load: number;
  /** Where the figures are from, if not from a run that printed this report. */
  readonly source?: string;
}

/** A measurement: every call is one run and returns its figure in the row's unit. */
export interface Candidate {
  readonly name: string;
  readonly unit: string;
  run(): Promise<number> | number;
}

/** A bench of `packages/lab`: sets up, measures, cleans up. `note` writes progress to standard error. */
export type Bench = (note: (text: string) => void, args: readonly string[]) => Promise<Report>;

/**
 * Runs the candidates interleaved (a b c a b c …), after one unmeasured round, so that other load affects all of them
 * equally.
 * @param pairs ratios to compute: [name, of, to]
 */
export async function measure(
  candidates: readonly Candidate[],
  runs: number,
  pairs: readonly (readonly [name: string, of: string, to: string])[] = [],
): Promise<Report> {
  const figures = new Map<string, number[]>(candidates.map(({ name }) => [name, []]));
  for (let round = -1; round < runs; round++) {
    for (const candidate of candidates) {
      const figure = await candidate.run();
      if (round >= 0) figures.get(candidate.name)?.push(figure);
    }
  }
  const rows = candidates.map(({ name, unit }) => rowOf(name, unit, figures.get(name) ?? []));
  const ratios = pairs.map(([name, of, to]) => {
    const [a, b] = [figures.get(of) ?? [], figures.get(to) ?? []];
    return { name, of, to, median: median(a.map((value, i) => value / (b[i] ?? Number.NaN))) };
  });
  return { machine: machine(), rows, ratios };
}

export function rowOf(name: string, unit: string, figures: readonly number[]): Row {
  return {
    name,
    unit,
    median: median(figures),
    min: Math.min(...figures),
    max: Math.max(...figures),
    runs: figures.length,
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

export function machine(): Report['machine'] {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    os: `${process.platform} ${process.arch}`,
  };
}

/** The table for a terminal. */
export function formatReport({ machine, rows, ratios }: Report): string {
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, Node ${machine.node}, ${machine.os}`,
    '',
  ];
  const width = Math.max(...rows.map(({ name }) => name.length), ...ratios.map(({ name }) => name.length), 10);
  const number = (value: number) =>
    Math.abs(value) >= 1_000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
  for (const row of rows) {
    const spread = `${number(row.min)} … ${number(row.max)}`;
    lines.push(
      `${row.name.padEnd(width)}  ${number(row.median).padStart(10)} ${row.unit.padEnd(10)} (${spread}; ${row.runs} runs)`,
    );
  }
  if (ratios.length > 0) lines.push('');
  for (const ratio of ratios) lines.push(`${ratio.name.padEnd(width)}  ${number(ratio.median).padStart(10)} ×`);
  return lines.join('\n');
}
