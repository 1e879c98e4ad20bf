import { z } from 'zod';

// Schemas that documents, streams and the API share. Browsers load this file as @millrace/protocol/shapes, so it does
// not use Node.

const uint = z.number().int().nonnegative();

/** Name of an object: licence ‖ "-" ‖ number. Strict, because names of files and records contain it. */
export const objectName = z.string().regex(/^[0-9a-f]{32}-[1-9][0-9]{0,6}$/, { error: 'expected LICENCE-NUMBER' });

/**
 * Information that an owner may disclose to an operator. Through control: the number of segments taken, the machine's
 * state, temperatures, seconds in its buffer. Only at the machine: positions, lines, layers, filament and the picture
 * of the toolpath.
 */
export const disclosures = ['progress', 'state', 'temperatures', 'buffer', 'position'] as const;
export type Disclosure = (typeof disclosures)[number];

/** Default disclosure: nothing about the design. */
export const usualDisclosures = ['progress', 'state', 'temperatures', 'buffer'] as const satisfies Disclosure[];

/** Heaters that a machine may have. The driver defines the actual ones. */
export const heaters = ['hotend', 'bed', 'chamber'] as const;
export type Heater = (typeof heaters)[number];

const celsius = z.number().int().min(-300).max(5_000).optional();

/** Machine state that the cloud may learn. The design cannot be derived from it. */
export const machineStateSchema = z.strictObject({
  state: z.enum(['waiting', 'running', 'finishing', 'done']),
  /** Temperatures of the machine's heaters, whole degrees Celsius. */
  temperatures: z.strictObject({ hotend: celsius, bed: celsius, chamber: celsius }),
  /** Seconds of motion in the agent's buffer; absent while the machine's speed is unknown. */
  buffer: z.number().nonnegative().max(1e9).optional(),
  /** Bytes on the machine's link in this session, in both directions, including TLS. */
  wire: uint,
  hints: uint,
});
export type MachineState = z.output<typeof machineStateSchema>;

/** Maximum bytes that a machine seals to the owner in telemetry. */
export const MAX_SEALED_STATE = 512;

/** Current parameters of a stream's matrix, as displayed by clients. */
export const matrixInUseSchema = z.strictObject({
  order: z.union([z.literal(16), z.literal(24)]),
  suite: z.enum(['keccak256', 'turboshake128']),
  /** Minimum duration of a revision, ms. */
  revisionMs: z.number().int().positive(),
});
export type MatrixInUse = z.output<typeof matrixInUseSchema>;

/** Kinds of organisations. */
export const organisationKinds = ['brand', 'bureau', 'supplier', 'auditor'] as const;
export type OrganisationKind = (typeof organisationKinds)[number];

/** Roles of a person in an organisation. An owner-admin invites and revokes. */
export const personRoles = ['owner-admin', 'designer', 'operator', 'auditor'] as const;
export type PersonRole = (typeof personRoles)[number];

/** Name of an organisation, person or device. Printable characters only, so that it cannot control a terminal. */
export const displayName = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u, { error: 'expected a name of printable characters' });

/** Maximum number of segments in one repair. */
export const MAX_REPAIR = 16_384;
