import { z } from 'zod';

// Shapes that documents, streams and the API share. Nothing here needs Node: browsers load it as @millrace/protocol/shapes.

const uint = z.number().int().nonnegative();

/** An object: licence ‖ "-" ‖ number. It names files and records, so nothing else passes for one. */
export const objectName = z.string().regex(/^[0-9a-f]{32}-[1-9][0-9]{0,6}$/, { error: 'expected LICENCE-NUMBER' });

/**
 * What an owner may let an operator see. Through control: segments that were taken, the machine's state, temperatures,
 * seconds in its buffer. Beside the machine only: where it was, lines, layers, filament and the picture of its path.
 */
export const disclosures = ['progress', 'state', 'temperatures', 'buffer', 'position'] as const;
export type Disclosure = (typeof disclosures)[number];

/** What an owner discloses unless told otherwise: nothing of the design. */
export const usualDisclosures = ['progress', 'state', 'temperatures', 'buffer'] as const satisfies Disclosure[];

/** Heaters that a machine may have; which of them it has its driver says. */
export const heaters = ['hotend', 'bed', 'chamber'] as const;
export type Heater = (typeof heaters)[number];

const celsius = z.number().int().min(-300).max(5_000).optional();

/** What the cloud may know of a running machine: nothing from which the design could be drawn. */
export const machineStateSchema = z.strictObject({
  state: z.enum(['waiting', 'running', 'finishing', 'done']),
  /** Whole degrees, of the heaters that the machine has. */
  temperatures: z.strictObject({ hotend: celsius, bed: celsius, chamber: celsius }),
  /** Seconds of motion that lie in the agent; absent while the machine's pace is not known. */
  buffer: z.number().nonnegative().max(1e9).optional(),
  /** Bytes on the machine's link in this session, both ways, TLS included. */
  wire: uint,
  hints: uint,
});
export type MachineState = z.output<typeof machineStateSchema>;

/** Most bytes of what a machine seals to the owner beside its state. */
export const MAX_SEALED_STATE = 512;

/** What a stream's matrix is made of now, as it is shown to whoever watches. */
export const matrixInUseSchema = z.strictObject({
  order: z.union([z.literal(16), z.literal(24)]),
  suite: z.enum(['keccak256', 'turboshake128']),
  /** Least time that a revision lasts, ms. */
  revisionMs: z.number().int().positive(),
});
export type MatrixInUse = z.output<typeof matrixInUseSchema>;

/** Most segments of one repair; more take several. */
export const MAX_REPAIR = 16_384;
