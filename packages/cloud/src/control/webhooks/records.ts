import { webhookMessageStates, webhookOffReasons } from '@millrace/api';
import { bytesOf, hexOf } from '@millrace/base';
import { changeKinds, WEBHOOK_SECRET_BYTES } from '@millrace/protocol';
import { z } from 'zod';
import type { TableOptions } from '../../node/table.ts';

const id = hexOf(16);
const uint = z.number().int().nonnegative();
const bytes = z.instanceof(Uint8Array);

export const webhookSchema = z.strictObject({
  webhook: id,
  name: z.string(),
  url: z.string(),
  /** Absent: all kinds. */
  kinds: z.array(z.enum(changeKinds)).optional(),
  /** The key that created it. It is told what this key may read. */
  key: id,
  organisation: id.optional(),
  created: uint,
  secret: bytesOf(WEBHOOK_SECRET_BYTES),
  /** Signs, too, until `until`. */
  former: z.strictObject({ secret: bytesOf(WEBHOOK_SECRET_BYTES), until: uint }).optional(),
  off: z.strictObject({ at: uint, reason: z.enum(webhookOffReasons) }).optional(),
  failingSince: uint.optional(),
  /** `webhook.create` as it was signed. */
  document: bytes,
});
export type WebhookRecord = z.output<typeof webhookSchema>;

export const webhookIndexes: TableOptions<WebhookRecord>['indexes'] = {
  key: ({ key, created }) => [{ group: key, order: created }],
  organisation: ({ organisation, created }) =>
    organisation === undefined ? [] : [{ group: organisation, order: created }],
};

export const webhookMessageSchema = z.strictObject({
  /** Ids of later messages are greater. */
  message: id,
  webhook: id,
  /** `test`, `reset`, or `changed` with the change. */
  type: z.enum(['test', 'reset', 'changed']),
  /** What has changed, and on what the policy decides who is told. */
  change: z
    .strictObject({
      kind: z.enum(changeKinds),
      id: z.string(),
      resource: z.strictObject({ owner: id.optional(), holder: id.optional() }),
      approvers: z.array(id).optional(),
    })
    .optional(),
  created: uint,
  state: z.enum(webhookMessageStates),
  /** When it was first sent, or sent again by its person. Attempts end some time after that. */
  since: uint,
  /** Since then. */
  attempts: uint,
  next: uint,
  last: z.strictObject({ at: uint, status: uint.optional(), code: z.string().optional() }).optional(),
});
export type WebhookMessageRecord = z.output<typeof webhookMessageSchema>;

export const webhookMessageIndexes: TableOptions<WebhookMessageRecord>['indexes'] = {
  webhook: ({ webhook, created }) => [{ group: webhook, order: created }],
};
