import { z } from 'zod';
import { safetyRules } from './guard.ts';

/** Maximum number of different commands of a design. A policy cannot allow more. */
export const MAX_COMMANDS = 320;
/** Number of tools that a policy can describe. */
export const MAX_TOOLS = 32;
/** Maximum number of zeros of one design, and how often one of them may count a place of the machine. */
export const MAX_ZEROS = 32;
export const MAX_COUNT = 64;
/** Moves between zeros that are kept. Of further ones the highest speed is kept, as if it were that of every axis. */
export const MAX_JOINS = 64;
/** Places of the machine that are known in a run: home, where it stands at the start, zero at the start, G54 to G59. */
export const PLACES = 9;

export const axes = ['x', 'y', 'z'] as const;

const finite = z.number().min(-1e12).max(1e12);
const span = z.tuple([finite, finite]);
const zero = z.number().int().min(0).lt(MAX_ZEROS);
/** X, Y and Z of one place: number of the zero, mm. */
const ends = z.array(z.tuple([zero, finite])).length(3);

const reach = z
  .strictObject({
    /** Codes and macros that occur. */
    commands: z.array(z.string().min(1).max(64)).max(MAX_COMMANDS),
    /**
     * From where places are counted: how often each zero counts where the axes are after homing, where the machine stands
     * at the start, the zero of its coordinates at the start, and G54 to G59. All 0: machine coordinates.
     */
    zeros: z.array(z.array(z.number().int().min(-MAX_COUNT).max(MAX_COUNT)).length(PLACES)).max(MAX_ZEROS),
    /** Where each tool goes, mm, by the number of the zero. */
    tools: z
      .array(
        z.strictObject({
          tool: z.number().int().min(0).lt(MAX_TOOLS),
          places: z
            .array(z.strictObject({ zero, x: span.optional(), y: span.optional(), z: span.optional() }))
            .max(MAX_ZEROS),
        }),
      )
      .max(MAX_TOOLS),
    /** Axes whose place after homing the design relies on. */
    home: z.array(z.enum(axes)).max(3),
    /** Highest speed along x, y, z and of the extruder, mm/min. Mills: but for rapid moves. */
    feed: z.tuple([finite, finite, finite, finite]),
    /** Moves between two zeros: their speed along each axis depends on the machine. Filament in mm, feed in mm/min. */
    joins: z.array(z.strictObject({ from: ends, to: ends, filament: finite, feed: finite })).max(MAX_JOINS),
    /** Highest temperatures, °C. */
    temperatures: z.strictObject({ hotend: finite, bed: finite, chamber: finite }),
    /** Highest S word of a mill. */
    spindle: finite,
  })
  .refine(
    ({ zeros, tools, joins }) =>
      [
        ...tools.flatMap(({ places }) => places.map((place) => place.zero)),
        ...joins.flatMap(({ from, to }) => [...from, ...to].map(([number]) => number)),
      ].every((number) => number < zeros.length),
    'a zero that is not there',
  );

/** How far a design goes on machines of one dialect: what a policy has to allow so that all of it can be made. */
export type Reach = z.output<typeof reach>;

/** `fault`: the first violation of a rule that does not depend on the policy. Machines of this kind stop there. */
const reachOrFault = z.union([reach, z.strictObject({ fault: z.enum(safetyRules) })]);

/**
 * How far a design goes, on a printer and on a mill. It shows neither the order nor the number of its commands, but for
 * moves between two zeros.
 */
export const jobEnvelopeSchema = z.strictObject({
  v: z.literal(2),
  printer: reachOrFault,
  mill: reachOrFault,
  /** Length of the filament that is used, mm. */
  filament: finite,
});
export type JobEnvelope = z.output<typeof jobEnvelopeSchema>;
