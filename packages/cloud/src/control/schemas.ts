import { hexOf } from '@millrace/base';
import { disclosures, MAX_REPAIR, MAX_SEALED_STATE, machineStateSchema, matrixInUseSchema } from '@millrace/protocol';
import { z } from 'zod';

/** Shapes of the API's bodies and answers: the source of both the checks and the OpenAPI document. */
const base64 = z.string().meta({ format: 'byte' });

export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().min(1).max(300).optional().describe('`next` of the page before'),
});

export const pageOf = (item: z.ZodType) => z.object({ items: z.array(item), next: z.string().optional() });

export const transactionBody = z.strictObject({
  transaction: base64.describe('COSE_Sign1, see spec/protocol.md'),
  attachments: z
    .strictObject({ manifest: base64.optional(), keys: base64.optional(), secret: base64.optional() })
    .optional(),
});

export const repairBody = z.strictObject({ segments: z.array(z.int().nonnegative()).min(1).max(MAX_REPAIR) });

export const ticketAnswer = z.object({
  ticket: base64.describe('for the header millrace-ticket of uploads to the distribution node'),
});

export const repairAnswer = z.object({ repair: z.string() });

export const vaultCheckBody = z.strictObject({ deep: z.boolean() });

/** Live figures of a running print, as the segments node tells them. */
export const progressBody = z.strictObject({
  acked: z.int().nonnegative(),
  revision: z.int().nonnegative(),
  matrix: matrixInUseSchema.optional(),
  machine: machineStateSchema.optional(),
  /** What the machine sealed to the owner, and the session to which it is bound. */
  owner: z.strictObject({ session: hexOf(16), sealed: z.base64().max(2 * MAX_SEALED_STATE) }).optional(),
});
/** Kept in memory only. */
export type Progress = z.output<typeof progressBody>;

export const transactionAnswer = z.object({
  id: z.string(),
  type: z.string(),
  design: z.string().optional(),
  licence: z.string().optional(),
  print: z.string().optional(),
  machine: z.string().optional(),
  user: z.string().optional(),
});

export const designAnswer = z.object({
  design: z.string(),
  name: z.string(),
  core: base64.describe('what the owner committed to, see spec/vault.md; the id follows from it'),
  custody: z.enum(['owner', 'keys']).describe('who holds the design secret'),
  kind: z.string().describe('what the design is: gcode, binary, …'),
  size: z.int(),
  segments: z.int(),
  state: z.enum(['uploading', 'storing', 'stored', 'refused', 'deleting', 'deleted']),
  code: z.string().optional(),
  reason: z.string().optional(),
  damage: z
    .object({
      missing: z.array(z.int()),
      damaged: z.array(z.int()),
      keys: z.boolean().describe('the keys node’s own records are damaged'),
      found: z.int().describe('when, milliseconds since 1970'),
    })
    .optional()
    .describe('segments that checks found missing or damaged, until they are repaired'),
  repair: z
    .object({
      repair: z.string(),
      state: z.enum(['running', 'done', 'failed']),
      segments: z.int(),
      code: z.string().optional(),
      reason: z.string().optional(),
    })
    .optional(),
});

export const licenceAnswer = z.object({
  licence: z.string(),
  design: z.string(),
  objects: z.int(),
  permitted: z.int(),
  suspended: z
    .object({
      restore: z.string().describe('the restoring that the owner’s word has to name'),
      most: z.int().describe('objects that can be left at most'),
    })
    .optional()
    .describe('a backup was restored: nothing is permitted before the owner has said how many objects are left'),
  holder: z.string(),
  machines: z.array(z.string()),
  materials: z.array(z.string()),
  notBefore: z.int(),
  notAfter: z.int(),
  disclose: z.array(z.enum(disclosures)).describe('what the holder may see of a running print'),
});

export const machineAnswer = z.object({
  machine: z.string(),
  serial: z.string(),
  kind: z.string(),
  profile: z.object({ factor: z.number(), bytesPerSecond: z.number().optional() }),
  registration: z.string().describe('SHA-256 of the registration: what a licence names'),
  document: base64.describe('the registration as the administrator signed it'),
  online: z.boolean(),
});

export const printAnswer = z.object({
  print: z.string(),
  licence: z.string(),
  design: z.string(),
  machine: z.string(),
  state: z.enum(['queued', 'permitted', 'running', 'completed', 'failed', 'alarmed', 'refused']),
  object: z.string().optional(),
  code: z.string().optional(),
  reason: z.string().optional(),
  cleared: z.boolean().optional(),
  segments: z.int(),
  progress: z
    .object({
      acked: z.int().optional(),
      revision: z.int().optional(),
      matrix: matrixInUseSchema.optional(),
      machine: z.looseObject({}).optional(),
      owner: z
        .object({ session: z.string(), sealed: base64 })
        .optional()
        .describe('for the owner: where the machine is, sealed to the owner’s key; see spec/protocol.md'),
    })
    .optional()
    .describe('while it runs; the holder sees what the licence discloses'),
});

export const objectAnswer = z.object({
  object: z.string(),
  design: z.string().optional(),
  state: z.string(),
  events: z.array(
    z.object({
      index: z.int(),
      sequence: z.int(),
      type: z.string(),
      time: z.int(),
      actor: z.string(),
      body: z.looseObject({}),
      report: z
        .object({ signed: base64, key: base64 })
        .optional()
        .describe('for the owner: the machine’s signed report, with a part sealed to the owner’s key'),
    }),
  ),
});

export const errorAnswer = z.object({
  error: z.object({ code: z.string(), message: z.string(), remedy: z.string(), data: z.looseObject({}) }),
});

export const checkpointText = 'text/plain; charset=utf-8';
