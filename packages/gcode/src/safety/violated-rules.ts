import type { MachineFrame } from './frame.ts';
import { type SafetyRule, safetyRules } from './guard.ts';
import { PolicyLimits } from './limits.ts';
import type { SafetyPolicy } from './policy.ts';
import { axes, type JobEnvelope, type Reach } from './reach.ts';

/** A machine that a design is compared with: its owner's policy and, of a mill, where it stands and its work offsets. */
export type Rehearsed = { readonly policy: SafetyPolicy } & (
  | { readonly dialect: 'printer'; readonly frame?: undefined }
  | { readonly dialect: 'mill'; readonly frame: MachineFrame }
);

/** The rules of a machine's policy that a design with this envelope violates. None: the policy allows all of it. */
export function violatedRules(envelope: JobEnvelope, machine: Rehearsed): SafetyRule[] {
  const reach = envelope[machine.dialect];
  const violated = 'fault' in reach ? new Set([reach.fault]) : compared(reach, machine);
  const { frame, policy } = machine;
  if (frame !== undefined && !frame.homes && !policy.trustPosition) violated.add('position');
  return safetyRules.filter((rule) => violated.has(rule));
}

function compared(reach: Reach, { dialect, policy, frame }: Rehearsed): Set<SafetyRule> {
  const limits = new PolicyLimits(policy, dialect);
  const violated = new Set<SafetyRule>();
  const violate = (rule: SafetyRule, isViolated: boolean) => isViolated && violated.add(rule);
  for (const name of reach.commands)
    violate('command', !(limits.commands.hasMacro(name) || (/^[GM]\d/.test(name) && limits.commands.has(name))));
  violate(
    'position',
    reach.home.some((axis) => policy.home[axis] === undefined),
  );
  const places = placesOf(policy, frame);
  /** Where a zero is on an axis, in machine coordinates, mm. NaN: where the axis is after homing is not known. */
  const zeroAt = (zero: number, axis: number): number =>
    (reach.zeros[zero] ?? []).reduce((sum, count, place) => (count === 0 ? sum : sum + count * places(place, axis)), 0);
  for (const { tool, places: reached } of reach.tools) {
    if (!limits.take(tool)) {
      violated.add('tool');
      continue;
    }
    for (const { zero, ...spans } of reached)
      for (const [axis, name] of axes.entries()) {
        const [span, at] = [spans[name], zeroAt(zero, axis)];
        // A guard does not check a place after homing that it does not know: nothing may rely on it.
        if (span === undefined || Number.isNaN(at)) continue;
        violate('volume', limits.reach(axis, at + span[0], at + span[1]) !== undefined);
      }
  }
  for (const [axis, rate] of reach.feed.entries()) violate('feed', limits.rate(axis, rate) !== undefined);
  for (const move of reach.joins)
    for (const [axis, rate] of speedsOf(move, zeroAt).entries()) violate('feed', limits.rate(axis, rate) !== undefined);
  for (const heater of ['hotend', 'bed', 'chamber'] as const)
    violate('temperature', limits.heat(heater, reach.temperatures[heater]) !== undefined);
  violate('spindle', limits.spindle(reach.spindle) !== undefined);
  return violated;
}

/** The places that zeros count, by number and axis, mm. */
function placesOf({ home }: SafetyPolicy, frame: MachineFrame | undefined) {
  const known = frame === undefined ? [] : [frame.position, frame.origin, ...frame.systems];
  return (place: number, axis: number): number =>
    (place === 0 ? home[axes[axis] as 'x'] : known[place - 1]?.[axis]) ?? Number.NaN;
}

/** Speeds along the axes as the guard of a run finds them, mm/min. */
function speedsOf(
  { from, to, filament, feed }: Reach['joins'][number],
  zeroAt: (zero: number, axis: number) => number,
): number[] {
  const along = axes.map((_, axis) => {
    const at = ([zero, mm]: readonly [number, number] = [0, 0]) => mm + (zeroAt(zero, axis) || 0);
    return at(to[axis]) - at(from[axis]);
  });
  const path = Math.hypot(...along);
  const length = path < NOTHING ? Math.abs(filament) : path;
  return length < NOTHING ? [] : [...along, filament].map((distance) => (Math.abs(distance) / length) * feed);
}

/** Shorter moves are none (planner.ts), mm. */
const NOTHING = 1e-9;
