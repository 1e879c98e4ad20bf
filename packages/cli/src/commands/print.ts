import { MillraceError } from '@millrace/base';
import type { LicenceView } from '../client/answers.ts';
import { type PrintLook, type PrintOutcome, requestPrint, requireCompleted, watchPrint } from '../client/print.ts';
import { pick, type Session } from '../client/session.ts';
import { findMachine } from '../installation/open.ts';
import { formatBytes, formatCount, formatDuration, formatFields, formatOverhead } from '../output/format.ts';
import { createProgress } from '../output/progress.ts';
import type { Terminal } from '../output/terminal.ts';
import { type Context, withSession } from './context.ts';

export interface PrintOptions {
  readonly licence: string;
  readonly machine?: string;
  readonly watch?: boolean;
}

export function print(context: Context, options: PrintOptions): Promise<void> {
  return withSession(context, 'operator', async (session) => {
    const { terminal } = context;
    const licence = pick('licence', options.licence, await session.api.licences(), (view) => [view.licence]);
    const machine = machineOf(session, licence, options.machine);
    const id = await requestPrint(session, licence.licence, machine);
    if (options.watch !== true) {
      terminal.result({ print: id, licence: licence.licence, machine }, `Print ${id} is queued.`);
      return;
    }
    const outcome = await watchWithProgress(session, terminal, id, 'print');
    requireCompleted(outcome);
    terminal.result(resultOf(outcome), `Object ${outcome.view.object} is made.\n${formatOutcome(outcome)}`);
  });
}

function machineOf(session: Session, licence: LicenceView, name: string | undefined): string {
  if (name !== undefined) {
    return /^[0-9a-f]{32}$/.test(name)
      ? name
      : findMachine(session.installation.description, name).registration.machine;
  }
  const [only, ...others] = licence.machines;
  if (only === undefined || others.length > 0) {
    throw new MillraceError('E_INPUT', 'the licence names several machines: say which with --machine');
  }
  return only;
}

/** Follows a print with a bar: layer, revision, hints a second, bytes on the wire and what they are of the design's. */
export async function watchWithProgress(
  session: Session,
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

function detailOf({ view, machine, hintsPerSecond }: PrintLook): string {
  if (machine === undefined) return view.state;
  const { layer, wire, bytes } = machine;
  return [
    `layer ${Math.max(0, layer)}`,
    `revision ${view.progress?.revision ?? 0}`,
    `${formatCount(hintsPerSecond)}hints/s`.replace(/(\d)hints/, '$1 hints'),
    `wire ${formatBytes(wire)}${bytes > 0 ? ` (×${formatOverhead(wire, bytes)})` : ''}`,
  ].join('  ');
}

export function resultOf({ view, machine, revision, hintsPerSecond, milliseconds }: PrintOutcome) {
  return {
    print: view.print,
    object: view.object,
    state: view.state,
    segments: view.segments,
    revision,
    milliseconds: Math.round(milliseconds),
    hintsPerSecond: Math.round(hintsPerSecond),
    layer: machine?.layer,
    lines: machine?.line,
    bytes: machine?.bytes,
    wire: machine?.wire,
    overhead: machine && machine.bytes > 0 ? machine.wire / machine.bytes : undefined,
    filamentMm: machine?.filament,
  };
}

export function formatOutcome({ view, machine, revision, hintsPerSecond, milliseconds }: PrintOutcome, indent = '  ') {
  return formatFields(
    [
      ['segments', String(view.segments)],
      ['time', formatDuration(milliseconds)],
      ['layers', machine === undefined ? undefined : String(machine.layer + 1)],
      ['revisions', String(revision + 1)],
      ['hints', machine === undefined ? undefined : `${formatCount(machine.hints)} (${formatCount(hintsPerSecond)}/s)`],
      [
        'on the wire',
        machine === undefined
          ? undefined
          : `${formatBytes(machine.wire)} for ${formatBytes(machine.bytes)}: ×${formatOverhead(machine.wire, machine.bytes)}`,
      ],
      ['filament', machine === undefined ? undefined : `${(machine.filament / 1000).toFixed(2)} m`],
    ],
    indent,
  );
}
