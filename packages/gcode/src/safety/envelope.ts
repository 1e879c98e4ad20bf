import { MillraceError } from '@millrace/base/core';
import { z } from 'zod';
import { CommandLines } from '../command-lines.ts';
import type { Execution, ExecutionListener } from '../execution.ts';
import { maxLineBytes } from '../reader.ts';
import { RecordedCommands } from './commands.ts';
import { SafetyGuard, type SafetyRule, safetyRules } from './guard.ts';
import { type Heater, PolicyLimits, type SafetyLimits } from './limits.ts';
import type { Dialect, SafetyPolicy } from './policy.ts';

/** Maximum number of different commands of a design. A policy cannot allow more. */
const MAX_COMMANDS = 320;
/** Number of tools that a policy can describe. */
const MAX_TOOLS = 32;
const NEWLINE = 10;
const axes = ['x', 'y', 'z'] as const;

const finite = z.number().min(-1e12).max(1e12);
const span = z.tuple([finite, finite]);
const place = z.strictObject({ x: span.optional(), y: span.optional(), z: span.optional() });

/**
 * How far a design goes, on a printer: what a policy has to allow so that all of it can be made. It shows neither the
 * order nor the number of its commands.
 */
export const jobEnvelopeSchema = z.strictObject({
  v: z.literal(1),
  /** The first violation of a rule that does not depend on the policy. What follows it is not in the envelope. */
  fault: z.enum(safetyRules).optional(),
  /** Codes and macros that occur. */
  commands: z.array(z.string().min(1).max(64)).max(MAX_COMMANDS),
  /** Where each tool goes, mm. `fromHome`: relative to where the axis is after homing. */
  tools: z
    .array(z.strictObject({ tool: z.number().int().min(0).lt(MAX_TOOLS), volume: place, fromHome: place }))
    .max(MAX_TOOLS),
  /** Axes whose place after homing the design relies on. */
  home: z.array(z.enum(axes)).max(3),
  /** Highest speed along x, y, z and of the extruder, mm/min. */
  feed: z.tuple([finite, finite, finite, finite]),
  /** Highest temperatures, °C. */
  temperatures: z.strictObject({ hotend: finite, bed: finite, chamber: finite }),
  /** Length of the filament that is used, mm. */
  filament: finite,
});
export type JobEnvelope = z.output<typeof jobEnvelopeSchema>;

type Span = [least: number, most: number];
interface Place {
  readonly volume: { x?: Span; y?: Span; z?: Span };
  readonly fromHome: { x?: Span; y?: Span; z?: Span };
}

/** Allows everything, and keeps the extremes. */
class RecordedLimits implements SafetyLimits {
  readonly commands: RecordedCommands;
  readonly trustPosition = true;
  readonly #tools = new Map<number, Place>();
  #place: Place = { volume: {}, fromHome: {} };
  #home = 0;
  readonly #rates: [number, number, number, number] = [0, 0, 0, 0];
  readonly #temperatures = { hotend: 0, bed: 0, chamber: 0 };

  constructor(dialect: Dialect) {
    this.commands = new RecordedCommands(dialect);
    this.take(0);
  }

  /** Places of homed axes are counted from there. */
  home(): number {
    return 0;
  }

  dependOnHome(bits: number, path: 'line' | 'arc'): boolean {
    this.#home |= bits;
    return path === 'line';
  }

  take(tool: number): boolean {
    if (!(Number.isInteger(tool) && tool >= 0 && tool < MAX_TOOLS)) return false;
    const known = this.#tools.get(tool) ?? { volume: {}, fromHome: {} };
    this.#tools.set(tool, known);
    this.#place = known;
    return true;
  }

  reach(axis: number, least: number, most: number, fromHome: boolean): undefined {
    const spans = fromHome ? this.#place.fromHome : this.#place.volume;
    const name = axes[axis] as 'x';
    const known = spans[name];
    if (known === undefined) spans[name] = [least, most];
    else {
      if (least < known[0]) known[0] = least;
      if (most > known[1]) known[1] = most;
    }
  }

  rate(axis: number, rate: number): undefined {
    if (rate > (this.#rates[axis] as number)) this.#rates[axis] = rate;
  }

  heat(heater: Heater, celsius: number): undefined {
    if (celsius > this.#temperatures[heater]) this.#temperatures[heater] = celsius;
  }

  spindle(): undefined {}

  envelope(fault: SafetyRule | undefined, filament: number): JobEnvelope {
    const names = this.commands.names;
    const isTooMany = names.length > MAX_COMMANDS;
    const broken = fault ?? (isTooMany ? 'command' : undefined);
    return {
      v: 1,
      ...(broken === undefined ? {} : { fault: broken }),
      commands: isTooMany ? [] : names,
      tools: [...this.#tools].map(([tool, { volume, fromHome }]) => ({ tool, volume, fromHome })),
      home: axes.filter((_, axis) => (this.#home & (1 << axis)) !== 0),
      feed: [...this.#rates],
      temperatures: { ...this.#temperatures },
      filament,
    };
  }
}

/**
 * Finds the envelope of a printer's design while an execution reads it: by the guard that machines use, with limits
 * that allow everything. Give it each line after the execution has had it, as machines do.
 */
export class EnvelopeRecorder implements ExecutionListener {
  readonly #limits = new RecordedLimits('printer');
  readonly #guard = new SafetyGuard(this.#limits, 'printer');
  readonly #lines = new CommandLines(new Uint8Array(maxLineBytes));
  #fault: SafetyRule | undefined;

  command(execution: Execution): void {
    if (this.#fault !== undefined) return;
    try {
      this.#guard.command(execution);
    } catch (error) {
      this.#stop(error);
    }
  }

  aimed(execution: Execution): void {
    if (this.#fault !== undefined) return;
    try {
      this.#guard.aimed(execution);
    } catch (error) {
      this.#stop(error);
    }
  }

  planned(direction: Float64Array, feed: number): void {
    if (this.#fault === undefined) this.#guard.planned(direction, feed);
  }

  /** Checks how a line is written. @param bytes of one line, or a part of it */
  push(bytes: Uint8Array): void {
    if (this.#fault !== undefined) return;
    this.#lines.add(bytes);
    if (bytes[bytes.length - 1] === NEWLINE) this.#endLine();
  }

  /** @param execution which has read the whole design */
  finish({ filament }: Pick<Execution, 'filament'>): JobEnvelope {
    this.#endLine();
    return this.#limits.envelope(this.#fault, filament);
  }

  #endLine(): void {
    if (this.#fault !== undefined) return;
    const command = this.#lines.end();
    try {
      if (command === undefined) this.#fault = 'form';
      else if (command.length > 0) this.#guard.line(command);
    } catch (error) {
      this.#stop(error);
    }
    this.#lines.clear();
  }

  #stop(error: unknown): void {
    if (!(error instanceof MillraceError && error.code === 'E_SAFETY')) throw error;
    this.#fault = error.data.rule as SafetyRule;
  }
}

/** The rules of a printer's policy that a design with this envelope violates. None: the policy allows all of it. */
export function violatedRules(envelope: JobEnvelope, policy: SafetyPolicy): SafetyRule[] {
  const limits = new PolicyLimits(policy, 'printer');
  const violated = new Set<SafetyRule>();
  const violate = (rule: SafetyRule, isViolated: boolean) => isViolated && violated.add(rule);
  if (envelope.fault !== undefined) violated.add(envelope.fault);
  for (const name of envelope.commands)
    violate('command', !(limits.commands.hasMacro(name) || (/^[GM]\d/.test(name) && limits.commands.has(name))));
  violate(
    'position',
    envelope.home.some((axis) => policy.home[axis] === undefined),
  );
  for (const { tool, volume, fromHome } of envelope.tools) {
    if (!limits.take(tool)) {
      violated.add('tool');
      continue;
    }
    for (const [axis, name] of axes.entries()) {
      const [there, after] = [volume[name], fromHome[name]];
      const home = policy.home[name];
      violate('volume', there !== undefined && limits.reach(axis, ...there) !== undefined);
      if (after === undefined || home === undefined) continue;
      violate('volume', limits.reach(axis, home + after[0], home + after[1]) !== undefined);
    }
  }
  for (const [axis, rate] of envelope.feed.entries()) violate('feed', limits.rate(axis, rate) !== undefined);
  for (const heater of ['hotend', 'bed', 'chamber'] as const)
    violate('temperature', limits.heat(heater, envelope.temperatures[heater]) !== undefined);
  return safetyRules.filter((rule) => violated.has(rule));
}
