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

/** What a person may command while an object is made, from elsewhere. `stop` is the emergency stop. */
export const printCommands = ['pause', 'resume', 'cancel', 'stop'] as const;
export type PrintCommand = (typeof printCommands)[number];

/** Whether a holder may transfer a licence alone, or only with the owner's approval. */
export const transferPolicies = ['alone', 'with-approval'] as const;
export type TransferPolicy = (typeof transferPolicies)[number];

/** Time after its issue within which a permit may start a stream, ms. */
export const PERMIT_MS = 120_000;

/** A group of an organisation's machines, or a site: the place where they are. A machine is at one site at most. */
export const groupKinds = ['group', 'site'] as const;
export type GroupKind = (typeof groupKinds)[number];

/**
 * Which members of a group a licence is for: those that it names, or any, also machines that the organisation adds
 * later.
 */
export const memberPolicies = ['named', 'any'] as const;
export type MemberPolicy = (typeof memberPolicies)[number];

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

/**
 * Roles of a person in an organisation. An owner-admin invites and revokes. A certifier signs for a supplier or an
 * inspector.
 */
export const personRoles = ['owner-admin', 'designer', 'operator', 'auditor', 'certifier'] as const;
export type PersonRole = (typeof personRoles)[number];

/** Roles that company sign-in may give. Owner-admins are invited: a provider cannot make one. */
export const signInRoles = ['designer', 'operator', 'auditor'] as const satisfies PersonRole[];
export type SignInRole = (typeof signInRoles)[number];

/** Printable text, so that it cannot control a terminal. */
export const displayText = (most: number) =>
  z
    .string()
    .min(1)
    .max(most)
    .regex(/^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$/u, { error: 'expected printable characters' });

/** Name of an organisation, person or device. Printable characters only, so that it cannot control a terminal. */
export const displayName = displayText(64);

/** Maximum number of segments in one repair. */
export const MAX_REPAIR = 16_384;

/** Forms in which material is delivered. */
export const materialForms = ['filament', 'resin', 'powder', 'pellets', 'stock'] as const;
export type MaterialForm = (typeof materialForms)[number];

/**
 * Scopes of API tokens. Each allows some of the actions of its person that need no signature: reading, and starting a
 * check of the vault.
 */
export const tokenScopes = [
  'designs:read',
  'licences:read',
  'prints:read',
  'machines:read',
  'ledger:read',
  'people:read',
  'status:read',
  'vault:check',
] as const;
export type TokenScope = (typeof tokenScopes)[number];

/** Kinds of things whose changes are told. */
export const changeKinds = ['design', 'licence', 'print', 'machine', 'spool', 'case'] as const;
export type ChangeKind = (typeof changeKinds)[number];

/** Reasons for which an object cannot be used, by its holder. */
export const caseReasons = [
  'adhesion',
  'warping',
  'layer-shift',
  'extrusion',
  'wrong-material',
  'dimensions',
  'surface',
  'machine-stopped',
  'power',
  'network',
  'other',
] as const;
export type CaseReason = (typeof caseReasons)[number];

/** Why a design does not fit a machine: a rule of its safety policy, its kind, its material, or what is left of it. */
export const rehearsalRules = [
  'command',
  'form',
  'volume',
  'position',
  'feed',
  'temperature',
  'spindle',
  'tool',
  'kind',
  'material',
  'spool',
] as const;
export type RehearsalRule = (typeof rehearsalRules)[number];

/** Maximum number of rehearsals of a licence on one machine: each tells the operator a little about the design. */
export const MAX_REHEARSALS = 20;

/** Maximum bytes of the sealed evidence of a case: a photo of 2 MB and a text. */
export const MAX_EVIDENCE_BYTES = 2_000_000 + 8_192;

/** Largest amount in a licence. The products of an object's amount and any number of objects need bigint. */
export const MAX_AMOUNT = 1_000_000_000_000;
const amount = z.number().int().min(0).max(MAX_AMOUNT);
/** Alphabetic code of ISO 4217. */
const currency = z.string().regex(/^[A-Z]{3}$/, { error: 'expected a currency of three capital letters (ISO 4217)' });

const objectPrice = z.strictObject({ per: z.literal('object'), currency, amount });

const subscription = z.strictObject({
  per: z.literal('period'),
  currency,
  /** For each period that has begun. */
  amount,
  /** Length of a period: months of the calendar or days, in UTC. */
  length: z.number().int().min(1).max(1_200),
  unit: z.enum(['day', 'month']),
  /** Begin of the first period, ms. No object begins before. */
  start: z.number().int().nonnegative(),
  /** Objects of a period that the amount includes. */
  quota: z.number().int().min(1).max(1_000_000),
  /** Amount for each object beyond the quota. Absent: such objects are refused. */
  overage: amount.optional(),
});
export type Subscription = z.output<typeof subscription>;

export const priceSchema = z.discriminatedUnion('per', [objectPrice, subscription]);
export type Price = z.output<typeof priceSchema>;

const hexName = z.string().regex(/^[0-9a-f]{32}$/);

/** What the machine reported last. */
const usageOutcomes = ['permitted', 'started', 'completed', 'failed', 'alarmed'] as const;
export type UsageOutcome = (typeof usageOutcomes)[number];

/** One line of a bill. The amount of `object` is at least 0, that of `credit` at most 0. */
export const usageRecordSchema = z.object({
  kind: z.enum(['object', 'credit', 'period']),
  licence: hexName,
  owner: hexName,
  holder: hexName,
  time: uint,
  index: uint.optional(),
  object: objectName.optional(),
  outcome: z.enum(usageOutcomes).optional(),
  period: z.object({ number: uint, from: uint, to: uint }).optional(),
  place: uint.optional(),
  currency: z.string().optional(),
  amount: z.int(),
});
export type UsageRecord = z.output<typeof usageRecordSchema>;

const coordinate = z.string().regex(/^[\w-]{1,700}$/);
/** A provider's public key (RFC 7517), without members that the thumbprint ignores. */
export const providerKey = z.discriminatedUnion('kty', [
  z.strictObject({ kty: z.literal('RSA'), n: coordinate, e: coordinate }),
  z.strictObject({ kty: z.literal('EC'), crv: z.literal('P-256'), x: coordinate, y: coordinate }),
  z.strictObject({ kty: z.literal('OKP'), crv: z.literal('Ed25519'), x: coordinate }),
]);
export type ProviderKey = z.output<typeof providerKey>;
