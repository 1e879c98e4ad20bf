import { MillraceError } from '@millrace/base';
import {
  type LicenceView,
  type PrintLook,
  type PrintOutcome,
  pick,
  requestPrint,
  requestVisit,
  requireCompleted,
  type Session,
  watchPrint,
} from '@millrace/client';
import type { OwnerState } from '@millrace/protocol';
import type { InstallationSession } from '../installation/session.ts';
import { formatBytes, formatCount, formatDuration, formatFields } from '../output/format.ts';
import { createProgress } from '../output/progress.ts';
import type { Terminal } from '../output/terminal.ts';
import { openAt } from './cloud.ts';
import { type Context, wholeNumber, withSession } from './context.ts';
import { machineId } from './machine-names.ts';

export interface PrintOptions {
  readonly licence?: string;
  readonly machine?: string;
  readonly watch?: boolean;
  readonly startWithin: string;
  /** Home folder in which the same key is enrolled at the machine's cloud. */
  readonly at?: string;
}

export function print(context: Context, options: PrintOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const { terminal } = context;
    if (options.licence === undefined) throw new MillraceError('E_INPUT', 'name the licence: --licence');
    const licence = pick('licence', options.licence, await session.api.licences(), (view) => [view.licence]);
    const minutes = wholeNumber(options.startWithin, '--start-within', 1, 10_080);
    const { at, machine: name } = options;
    const {
      print: id,
      machine,
      visit,
    } = await (at === undefined ? printHere : printAt(context, at))(session, {
      licence,
      name,
      startWithinMs: minutes * 60_000,
    });
    if (options.watch !== true) {
      terminal.result(
        { print: id, licence: licence.licence, machine, ...(visit === undefined ? {} : { visit }) },
        `Print ${id} is queued. It expires unless it starts within ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}.`,
      );
      return;
    }
    const outcome = await watchWithProgress(session, terminal, id, 'print');
    requireCompleted(outcome);
    terminal.result(resultOf(outcome), `Object ${outcome.view.object} is complete.\n${formatOutcome(outcome)}`);
  });
}

interface Order {
  readonly licence: LicenceView;
  /** Name or identifier of the machine. */
  readonly name: string | undefined;
  readonly startWithinMs: number;
}

interface Ordered {
  readonly machine: string;
  readonly print: string;
  /** At the machine's cloud, if it is another one. */
  readonly visit?: string;
}

async function printHere(session: InstallationSession, { licence, name, startWithinMs }: Order): Promise<Ordered> {
  const machine = await machineOf(session, licence, name);
  return { machine, print: await requestPrint(session, licence.licence, machine, startWithinMs) };
}

/** Orders a print on a machine of another cloud, with the visit there. */
const printAt =
  (context: Context, home: string) =>
  async (session: InstallationSession, { licence, name, startWithinMs }: Order): Promise<Ordered> => {
    const there = await openAt(context, home, session);
    try {
      const machine = await machineOf(there, licence, name);
      const ordered = await requestVisit(session, there, { licence: licence.licence, machine, startWithinMs });
      return { machine, ...ordered };
    } finally {
      there.close();
    }
  };

async function machineOf(session: Session, licence: LicenceView, name: string | undefined): Promise<string> {
  if (name !== undefined) return machineId(session, name);
  const [only, ...others] = licence.machines;
  if (only === undefined || others.length > 0) {
    throw new MillraceError('E_INPUT', 'the licence does not name exactly one machine: choose one with --machine');
  }
  return only;
}

/**
 * Observes a print with a progress bar: layer, revision, hints per second, bytes on the wire and their ratio to the
 * design's.
 */
export async function watchWithProgress(
  session: InstallationSession,
  terminal: Terminal,
  print: string,
  label: string,
): Promise<PrintOutcome> {
  const progress = createProgress(terminal, label);
  try {
    return await watchPrint(session, print, (look) => {
      progress.update(look.view.progress?.acked ?? 0, look.view.segments, detailOf(look));
    });
  } finally {
    progress.finish();
  }
}

function detailOf({ view, machine, own, hintsPerSecond, overhead }: PrintLook): string {
  if (machine === undefined) return view.state;
  const { wire, buffer, temperatures = {} } = machine;
  const revision = view.progress?.revision;
  const degrees = Object.entries(temperatures).map(([heater, celsius]) => `${heater} ${celsius} °C`);
  return [
    ...placeOf(own),
    ...degrees,
    ...(buffer === undefined ? [] : [`buffer ${formatDuration(1_000 * buffer)}`]),
    ...(revision === undefined ? [] : [`revision ${revision}${matrixOf(view)}`]),
    ...(wire === undefined
      ? []
      : [
          `${formatCount(hintsPerSecond)} hints/s`,
          `wire ${formatBytes(wire)}${overhead === undefined ? '' : ` (×${overhead.toFixed(3)})`}`,
        ]),
  ].join('  ');
}

/** Details that only the owner gets. */
export function placeOf(own: OwnerState | undefined): string[] {
  if (own === undefined) return [];
  const { layer, line, position, filament, reason } = own;
  return [
    ...(layer === undefined ? [] : [`layer ${Math.max(0, layer)}`]),
    ...(line === undefined ? [] : [`line ${line}`]),
    ...(position === undefined ? [] : [`at ${position.map((mm) => mm.toFixed(2)).join(' ')}`]),
    ...(filament === undefined ? [] : [`filament ${(filament / 1000).toFixed(2)} m`]),
    ...(reason === undefined ? [] : [`reason ${reason}`]),
  ];
}

/** Current order, suite and length of a revision. */
function matrixOf({ progress }: PrintLook['view']): string {
  const matrix = progress?.matrix;
  return matrix === undefined ? '' : ` (order ${matrix.order}, ${matrix.suite}, ${formatDuration(matrix.revisionMs)})`;
}

export function resultOf({ view, facts, revision, hintsPerSecond, overhead, milliseconds }: PrintOutcome) {
  return {
    print: view.print,
    object: view.object,
    state: view.state,
    segments: view.segments,
    revision,
    milliseconds: Math.round(milliseconds),
    hintsPerSecond: Math.round(hintsPerSecond),
    ...facts,
    overhead,
  };
}

/** @param exact the machine's final counts, if available; otherwise they are estimated from its reports */
export function formatOutcome(
  outcome: PrintOutcome,
  indent = '  ',
  exact?: { readonly hints: number; readonly wire: number; readonly bytes: number },
): string {
  const { view, facts, revision, hintsPerSecond, milliseconds } = outcome;
  const overhead = exact === undefined ? outcome.overhead : exact.wire / exact.bytes;
  const times = overhead === undefined ? undefined : `×${overhead.toFixed(3)}, all framing included`;
  const rate = hintsPerSecond > 0 ? `${formatCount(hintsPerSecond)} a second` : undefined;
  return formatFields(
    [
      ['segments', String(view.segments)],
      ['time', formatDuration(milliseconds)],
      ['layers', facts?.layers?.toString()],
      ['lines', facts?.lines?.toString()],
      ['filament', facts?.filamentMm === undefined ? undefined : `${(facts.filamentMm / 1000).toFixed(2)} m`],
      ['revisions', String(revision + 1)],
      ['hints', exact === undefined ? rate : [formatCount(exact.hints), rate].filter(Boolean).join(', ')],
      [
        'on the wire',
        exact === undefined ? times : `${formatBytes(exact.wire)} for ${formatBytes(exact.bytes)}: ${times}`,
      ],
    ],
    indent,
  );
}
