import type { Odometer } from '@millrace/protocol';

// Compares what went into a machine with what its signed statements say came out. Reads and verifies nothing.

/** What a machine signed in one request or report that the ledger has. */
export interface MachineStatement {
  /** Entry of the ledger, and its time by control's clock, ms. */
  readonly index: number;
  readonly time: number;
  /** By the machine's clock, ms: the order in which the machine signed. */
  readonly issued: number;
  /** The object, or the account of a visit to another cloud. */
  readonly object: string;
  /** `asked`: a request for a permit. `ended`: the report of the object's end. */
  readonly kind: 'asked' | 'ended';
  readonly completed?: boolean;
  readonly odometer?: Odometer | undefined;
  /** The loaded spool in a request, and the statement that it is loaded. */
  readonly loaded?: { readonly spool: string; readonly statement: string } | undefined;
  /** In the report of an end. */
  readonly used?: Used | undefined;
}

interface Used {
  readonly spool: string;
  readonly metres: number;
  readonly grams: number;
}

/** An operator's statement on a spool, and grams that control had counted before. */
export interface SpoolStatement {
  readonly statement: string;
  readonly kind: 'load' | 'unload';
  readonly spool: string;
  readonly at: number;
  readonly used: number;
  /** Name of the signer. */
  readonly by: string;
  readonly content?: SpoolContent | undefined;
}

/** What `spool.load` says of the spool. */
export interface SpoolContent {
  readonly name: string;
  readonly serial?: string | undefined;
  /** Name of the supplier that certifies it. Its certificate has the id of the spool. */
  readonly supplier?: string | undefined;
  /** Net, when it was full. */
  readonly grams?: number | undefined;
}

/** Grams that control has counted for a spool, before and after the ledger was read. */
export interface SpoolCount {
  readonly before: number;
  readonly after: number;
}

export interface Printed {
  readonly object: string;
  readonly index: number;
  readonly time: number;
  readonly completed: boolean;
  /** By the machine's report; absent if it states no spool. */
  readonly used?: Used | undefined;
}

/** A spool on the machine, from one statement to the next. */
export interface SpoolStay {
  readonly spool: string;
  readonly content: SpoolContent;
  readonly loaded: { readonly at: number; readonly by: string; readonly left?: number | undefined };
  /** Absent while it is loaded. */
  readonly unloaded?: { readonly at: number; readonly by: string } | undefined;
  /** Grams left at the end of the stay, or now; absent without a net weight. */
  readonly left?: number | undefined;
  /** Grams that control counted during the stay, and the sum of the reports. */
  readonly counted: number;
  readonly reported: number;
}

/** Two figures that ought to agree. */
export interface SiteFinding {
  /** Spool, object or account. */
  readonly about: string;
  readonly what: string;
  readonly unit: keyof Odometer | 'statements';
  readonly expected: number;
  readonly found: number;
}

export interface SiteBalance {
  readonly stays: readonly SpoolStay[];
  readonly prints: readonly Printed[];
  /** The machine's first and last statement; absent if it stated none. */
  readonly odometer?: { readonly begin: Odometer; readonly end: Odometer; readonly difference: Odometer } | undefined;
  /** Sums of the prints between them. */
  readonly printed: { readonly metres: number; readonly grams: number };
  readonly findings: readonly SiteFinding[];
}

export interface SiteFigures {
  readonly statements: readonly MachineStatement[];
  readonly spools: readonly SpoolStatement[];
  readonly counts: ReadonlyMap<string, SpoolCount>;
}

const FIELDS = ['minutes', 'metres', 'grams', 'started', 'ended'] as const;
/**
 * What may differ by rounding between two statements without a print between them. A machine may complete a minute of
 * motion after its report.
 */
const IDLE: Readonly<Record<(typeof FIELDS)[number], number>> = {
  minutes: 1,
  metres: 0,
  grams: 0,
  started: 0,
  ended: 0,
};

/**
 * Reconciles the figures. A spool that is on the machine in the period is reconciled for its whole stay, because nobody
 * stated what was left at the begin of the period.
 * @param from period in which a finding counts: `from` ≤ time < `to`, ms
 */
export function balanceSite(
  { statements, spools, counts }: SiteFigures,
  { from = 0, to = Number.POSITIVE_INFINITY }: { readonly from?: number; readonly to?: number } = {},
): SiteBalance {
  const within = ({ time }: { readonly time: number }) => from <= time && time < to;
  const findings: SiteFinding[] = [];
  const chain = statements
    .filter((each): each is Stated => each.odometer !== undefined)
    .sort((one, other) => one.issued - other.issued || one.index - other.index);
  const ended = statements.filter(({ kind }) => kind === 'ended').sort((one, other) => one.index - other.index);
  const requests = requestsOf(statements);

  for (const [i, next] of chain.entries()) {
    const last = chain[i - 1];
    if (last !== undefined && within(next)) findings.push(...gapsBetween(last, next, requests.has(next.object)));
  }
  for (const report of ended) {
    if (!within(report)) continue;
    const place = chain.indexOf(report as Stated);
    findings.push(...checkPrint(report, requests.get(report.object) ?? [], chain[place - 1]));
  }
  const stays = staysOf(spools, counts, ended, findings, { from, to });
  for (const report of ended) {
    const { used, object, time } = report;
    if (used === undefined || !within(report) || used.grams === 0) continue;
    if (stays.some((stay) => stay.spool === used.spool && isDuring(stay, time))) continue;
    const what = `spool ${used.spool} was not loaded by a statement when the report came`;
    findings.push({ about: object, what, unit: 'grams', expected: 0, found: used.grams });
  }
  const known = new Set(spools.map(({ statement }) => statement));
  for (const request of statements) {
    const { loaded, object } = request;
    if (loaded === undefined || known.has(loaded.statement) || !within(request)) continue;
    const what = `control shows no statement ${loaded.statement}, by which spool ${loaded.spool} was loaded`;
    findings.push({ about: object, what, unit: 'statements', expected: 1, found: 0 });
  }

  const prints = ended.filter(within).map(({ object, index, time, completed = false, used }) => ({
    ...{ object, index, time, completed },
    ...(used === undefined ? {} : { used }),
  }));
  return {
    stays: stays.filter(({ loaded, unloaded }) => loaded.at < to && from <= (unloaded?.at ?? from)),
    prints,
    odometer: odometerOf(chain, from, within),
    printed: {
      metres: sum(prints.map(({ used }) => used?.metres ?? 0)),
      grams: sum(prints.map(({ used }) => used?.grams ?? 0)),
    },
    findings,
  };
}

type Stated = MachineStatement & { readonly odometer: Odometer };

/** Requests of each object, in the order of the log. */
function requestsOf(statements: readonly MachineStatement[]): ReadonlyMap<string, MachineStatement[]> {
  const requests = new Map<string, MachineStatement[]>();
  for (const each of [...statements].sort((one, other) => one.index - other.index))
    if (each.kind === 'asked') requests.set(each.object, [...(requests.get(each.object) ?? []), each]);
  return requests;
}

/** What the machine did between two statements that no print explains, or took back. */
function gapsBetween(last: Stated, next: Stated, wasAsked: boolean): SiteFinding[] {
  const runs = next.kind === 'ended' && !wasAsked; // a visit states the odometer at its end only
  const isPrint = runs || (last.kind === 'asked' && last.object === next.object);
  return FIELDS.flatMap((unit) => {
    const [before, after] = [last.odometer[unit], next.odometer[unit]];
    if (after < before)
      return [{ about: next.object, what: 'the odometer went back', unit, expected: before, found: after }];
    if (isPrint || after - before <= IDLE[unit]) return [];
    const without = last.kind === 'asked' ? `, and there is no report that ${last.object} had ended` : '';
    const what = `the odometer advanced without a print that you may read${without}`;
    return [{ about: next.object, what, unit, expected: before, found: after }];
  });
}

/** Compares a report with the odometer of its object. */
function checkPrint(
  report: MachineStatement,
  requests: readonly MachineStatement[],
  last: Stated | undefined,
): SiteFinding[] {
  const { object: about, odometer, used } = report;
  const findings: SiteFinding[] = [];
  const asked = requests.at(-1)?.loaded?.spool;
  // A visit's request is at the other cloud.
  if (used !== undefined && requests.length > 0 && used.spool !== asked) {
    const what = `the report charges spool ${used.spool}, and the request has ${asked ?? 'none'}: control does not count it`;
    findings.push({ about, what, unit: 'grams', expected: 0, found: used.grams });
  }
  const begin = requests.find((each) => each.odometer !== undefined)?.odometer ?? last?.odometer;
  if (begin === undefined) return findings;
  if (odometer === undefined)
    return [
      ...findings,
      { about, what: 'the report has no odometer', unit: 'ended', expected: begin.ended + 1, found: 0 },
    ];
  for (const unit of ['metres', 'grams'] as const) {
    const [advanced, stated] = [odometer[unit] - begin[unit], used?.[unit] ?? 0];
    // The odometer is rounded down, and what was used is rounded up.
    if (advanced === stated || advanced === stated - 1 || advanced < 0) continue;
    const what = used === undefined ? 'used of no stated spool' : 'used by the odometer, not by the report';
    findings.push({ about, what, unit, expected: stated, found: advanced });
  }
  for (const unit of ['started', 'ended'] as const) {
    const objects = odometer[unit] - begin[unit];
    if (objects > 1)
      findings.push({ about, what: 'the odometer counts other objects, too', unit, expected: 1, found: objects });
  }
  return findings;
}

/** The stays of all spools, in order. Adds findings about those in the period. */
function staysOf(
  spools: readonly SpoolStatement[],
  counts: ReadonlyMap<string, SpoolCount>,
  ended: readonly MachineStatement[],
  findings: SiteFinding[],
  { from, to }: { readonly from: number; readonly to: number },
): SpoolStay[] {
  const all: SpoolStay[] = [];
  let open: (SpoolStatement & { readonly content: SpoolContent }) | undefined;
  const close = (end: SpoolStatement | undefined) => {
    if (open === undefined) return;
    const { spool, content, at, by, used } = open;
    const during = ended.filter(
      (each) => each.used?.spool === spool && at <= each.time && each.time < (end?.at ?? Number.POSITIVE_INFINITY),
    );
    const reported = sum(during.map((each) => each.used?.grams ?? 0));
    const now = counts.get(spool);
    // A report that came while the ledger was read is in one of the two counts.
    const last =
      end?.spool === spool
        ? end.used
        : now === undefined
          ? undefined
          : Math.min(Math.max(used + reported, now.before), now.after);
    const counted = (last ?? used) - used;
    const leftAt = (amount: number) => (content.grams === undefined ? undefined : content.grams - amount);
    const left = leftAt(used + counted);
    all.push({
      ...{ spool, content, loaded: { at, by, left: leftAt(used) }, counted, reported, left },
      ...(end?.spool === spool ? { unloaded: { at: end.at, by: end.by } } : {}),
    });
    open = undefined;
    if (at >= to || (end?.at ?? from) < from) return;
    const add = (what: string, expected: number, found: number) =>
      findings.push({ about: spool, what, unit: 'grams', expected, found });
    if (last === undefined) add('control shows no count of this spool', reported, 0);
    else if (counted !== reported)
      add('control counted other grams than the reports that you may read', reported, counted);
    if (left !== undefined && left < 0) add('more was used than was on the spool', content.grams ?? 0, used + counted);
  };
  for (const each of [...spools].sort((one, other) => one.at - other.at)) {
    const inPeriod = from <= each.at && each.at < to;
    const add = (about: string, what: string, expected: number, found: number) => {
      if (inPeriod) findings.push({ about, what, unit: 'statements', expected, found });
    };
    if (each.kind === 'unload') {
      if (open?.spool === each.spool) close(each);
      else add(each.spool, 'it was unloaded, and there is no statement that it was loaded', 1, 0);
      continue;
    }
    if (open?.spool === each.spool) continue; // loaded again
    if (open !== undefined)
      add(open.spool, `spool ${each.spool} was loaded, and there is no statement that this one was unloaded`, 1, 0);
    close(each);
    open = { ...each, content: each.content ?? { name: '' } };
  }
  close(undefined);
  return all;
}

const isDuring = ({ loaded, unloaded }: SpoolStay, time: number): boolean =>
  loaded.at <= time && time < (unloaded?.at ?? Number.POSITIVE_INFINITY);

/** From the last statement before the period, or else its first one, to its last one. */
function odometerOf(
  chain: readonly Stated[],
  from: number,
  within: (each: Stated) => boolean,
): SiteBalance['odometer'] {
  const inside = chain.filter(within);
  const [first] = inside;
  const begin = chain.filter(({ time }) => time < from).at(-1)?.odometer ?? first?.odometer;
  const end = inside.at(-1)?.odometer ?? begin;
  if (begin === undefined || end === undefined) return undefined;
  const differences = FIELDS.map((unit) => [unit, end[unit] - begin[unit]] as const);
  return { begin, end, difference: Object.fromEntries(differences) as Record<keyof Odometer, number> };
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
