import { type Bytes, bytesOf, toBase64 } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { changeKinds, displayName } from './shapes.ts';

// Webhooks: addresses to which control sends what changes, signed as Standard Webhooks defines. The secret is made by
// the person's computer and attached; the documents contain its hash only.

/** Length of a webhook's secret, bytes. */
export const WEBHOOK_SECRET_BYTES = 32;

/** Address of a receiver. It names no user or password, because lists show it. */
export const webhookUrl = z
  .url({ protocol: /^https?$/ })
  .max(1_024)
  .refine((text) => {
    if (!URL.canParse(text)) return false;
    const { username, password, hash } = new URL(text);
    return username === '' && password === '' && hash === '';
  }, 'expected an address without user, password and fragment');

const createWebhook = z.strictObject({
  type: z.literal('webhook.create'),
  ...common,
  name: displayName,
  url: webhookUrl,
  /** Kinds of things whose changes are sent. Absent: all. */
  kinds: z
    .array(z.enum(changeKinds))
    .min(1)
    .max(changeKinds.length)
    .refine((list) => new Set(list).size === list.length, { error: 'a kind is listed twice' })
    .optional(),
  /** SHA-256 of the attached secret. */
  hash: bytesOf(32),
});

/** Replaces the secret. For a day, messages are signed with the former one, too. */
const rotateWebhook = z.strictObject({
  type: z.literal('webhook.rotate'),
  ...common,
  webhook: identifier,
  hash: bytesOf(32),
});

/** Signed by the webhook's key, an owner-admin of its organisation, or the administrator. */
const setWebhook = z.strictObject({
  type: z.literal('webhook.set'),
  ...common,
  webhook: identifier,
  state: z.enum(['on', 'off', 'deleted']),
});

/** Sends a test message; or one message again; or all messages after one. */
const sendWebhook = z
  .strictObject({
    type: z.literal('webhook.send'),
    ...common,
    webhook: identifier,
    message: identifier.optional(),
    after: identifier.optional(),
  })
  .refine(({ message, after }) => message === undefined || after === undefined, {
    error: 'message and after exclude each other',
  });

export const webhookDocuments = [createWebhook, rotateWebhook, setWebhook, sendWebhook] as const;

/** The form in which Standard Webhooks shows a secret. */
export function formatWebhookSecret(secret: Uint8Array): string {
  return `whsec_${toBase64(secret)}`;
}

export function webhookSecretHash(secret: Uint8Array): Bytes {
  return sha256(secret);
}
