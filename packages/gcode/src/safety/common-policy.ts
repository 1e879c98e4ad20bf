import { MillraceError } from '@millrace/base/core';
import type { SafetyPolicy } from './policy.ts';

type Volume = SafetyPolicy['volume'];
type Range = Volume['x'];

/**
 * The policy that allows what both allow. Where the machine is after homing is a fact of the machine: `own` states it.
 * @throws {MillraceError} E_INPUT if they allow no place in common
 */
export function commonPolicy(own: SafetyPolicy, other: SafetyPolicy): SafetyPolicy {
  const tools = Math.min(own.tools.length, other.tools.length);
  const { x, y, z, e } = own.feed;
  const extruder = [e, other.feed.e].filter((rate) => rate !== undefined);
  const { hotend, bed, chamber } = own.temperatures;
  const { temperatures } = other;
  return {
    version: 1,
    volume: commonVolume(own.volume, other.volume),
    tools: Array.from({ length: tools }, (_, tool) => ({
      volume: commonVolume(own.tools[tool]?.volume ?? own.volume, other.tools[tool]?.volume ?? other.volume),
    })),
    home: own.home,
    feed: {
      x: Math.min(x, other.feed.x),
      y: Math.min(y, other.feed.y),
      z: Math.min(z, other.feed.z),
      ...(extruder.length === 0 ? {} : { e: Math.min(...extruder) }),
    },
    temperatures: {
      hotend: Math.min(hotend, temperatures.hotend),
      bed: Math.min(bed, temperatures.bed),
      chamber: Math.min(chamber, temperatures.chamber),
    },
    spindle: Math.min(own.spindle, other.spindle),
    commands: {
      // What neither policy names is allowed by both if it is usual, and by none otherwise.
      allow: own.commands.allow.filter((name) => other.commands.allow.includes(name)),
      forbid: [...new Set([...own.commands.forbid, ...other.commands.forbid])],
    },
    trustPosition: own.trustPosition && other.trustPosition,
  };
}

function commonVolume(a: Volume, b: Volume): Volume {
  return { x: commonRange(a.x, b.x), y: commonRange(a.y, b.y), z: commonRange(a.z, b.z) };
}

function commonRange([from, to]: Range, [least, most]: Range): Range {
  const range: Range = [Math.max(from, least), Math.min(to, most)];
  if (range[0] < range[1]) return range;
  throw new MillraceError('E_INPUT', 'the two safety policies allow no place in common');
}
