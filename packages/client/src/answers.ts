import { hexOf } from '@millrace/base';
import { objectName } from '@millrace/protocol';
import { z } from 'zod';

// What the control and distribution nodes answer. Objects are open here, other than for what users and files say: a
// newer server may tell more, and an older client goes on.

const id = hexOf(16);
const uint = z.number().int().nonnegative();
const failure = { code: z.string().optional(), reason: z.string().optional() };

export const transactionAnswer = z.object({ id, type: z.string() });

export const designAnswer = z.object({
  design: id,
  name: z.string(),
  /** What the owner committed to, base64; the id follows from it. */
  core: z.string(),
  /** Who holds the design secret. */
  custody: z.enum(['owner', 'keys']),
  kind: z.string(),
  size: uint,
  segments: uint,
  state: z.enum(['uploading', 'storing', 'stored', 'refused', 'deleting', 'deleted']),
  /** How its cells are renewed, and what its owner wants instead until the keys node has taken it. */
  maintenance: z.string().optional(),
  wanted: z.string().optional(),
  /** Segments that checks found missing or damaged, until they are repaired. */
  damage: z.object({ missing: z.array(uint), damaged: z.array(uint), keys: z.boolean(), found: z.number() }).optional(),
  repair: z
    .object({ repair: z.string(), state: z.enum(['running', 'done', 'failed']), segments: uint, ...failure })
    .optional(),
  ...failure,
});
export type DesignView = z.output<typeof designAnswer>;

export const repairAnswer = z.object({ repair: z.string() });

export const ticketAnswer = z.object({ ticket: z.string() });
export const uploadAnswer = z.object({ have: uint, missing: z.array(uint).optional() });

export const licenceAnswer = z.object({
  licence: id,
  design: id,
  objects: uint,
  permitted: uint,
  /** A backup was restored: the owner has to say how many objects are left, at most so many. */
  suspended: z.object({ restore: id, most: uint }).optional(),
  holder: z.string(),
  machines: z.array(z.string()),
  materials: z.array(z.string()),
  /** What the holder may see of a running print. */
  disclose: z.array(z.string()).optional(),
});
export type LicenceView = z.output<typeof licenceAnswer>;

export const machineAnswer = z.object({
  machine: id,
  serial: z.string(),
  kind: z.string(),
  profile: z.object({ factor: z.number() }),
  /** SHA-256 of the registration. */
  registration: hexOf(32).optional(),
  /** The registration as the administrator signed it, base64. */
  document: z.string(),
  online: z.boolean(),
});
export type MachineView = z.output<typeof machineAnswer>;

/** As much of it as the licence discloses to this user. */
const machineState = z.object({
  state: z.string().optional(),
  /** °C, by heater. */
  temperatures: z.record(z.string(), z.number()).optional(),
  /** Seconds of motion in the agent. */
  buffer: z.number().optional(),
  wire: uint.optional(),
  hints: uint.optional(),
});
export type MachineStateView = z.output<typeof machineState>;

export const printAnswer = z.object({
  print: id,
  licence: id,
  machine: id,
  state: z.enum(['queued', 'permitted', 'running', 'completed', 'failed', 'alarmed', 'refused']),
  object: objectName.optional(),
  /** The owner has cleared its alarm. */
  cleared: z.boolean().optional(),
  segments: uint,
  progress: z
    .object({
      acked: uint.optional(),
      revision: z.number().optional(),
      /** What the stream's matrix is made of now; revisionMs is the least length of a revision. */
      matrix: z.object({ order: uint, suite: z.string(), revisionMs: z.number() }).optional(),
      machine: machineState.optional(),
      /** For the owner: sealed by the machine, bound to this session. */
      owner: z.object({ session: hexOf(16), sealed: z.string() }).optional(),
    })
    .optional(),
  ...failure,
});
export type PrintView = z.output<typeof printAnswer>;

export const objectAnswer = z.object({
  object: objectName,
  design: z.string().optional(),
  state: z.string(),
  events: z.array(
    z.object({
      index: uint,
      sequence: uint,
      type: z.string(),
      time: z.number(),
      actor: z.string(),
      body: z.record(z.string(), z.unknown()),
      /** For the owner: what the machine signed, and its key; base64. */
      report: z.object({ signed: z.string(), key: z.string() }).optional(),
    }),
  ),
});
export type ObjectView = z.output<typeof objectAnswer>;

export const statusAnswer = z.object({
  nodes: z.array(z.object({ role: z.string(), seen: z.number() })),
  maintenance: z.unknown().optional(),
  /** Nodes that are older than others remember of them. */
  quarantine: z.array(z.object({ role: z.string(), reason: z.string() })).optional(),
  /** Records that control leaves aside; the administrator sees them. */
  damagedRecords: z
    .array(z.object({ table: z.string(), id: z.string(), code: z.string(), reason: z.string() }))
    .optional(),
});
export type StatusView = z.output<typeof statusAnswer>;

export const checkStarted = z.object({ check: z.string() });
export const checkAnswer = z.looseObject({ check: z.string(), state: z.string() });
export type CheckView = z.output<typeof checkAnswer>;

export const ledgerCheckAnswer = z.looseObject({
  ok: z.boolean().optional(),
  entries: uint.optional(),
  accounts: uint.optional(),
  problems: z.array(z.unknown()).optional(),
});
