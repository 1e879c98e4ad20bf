import { wipe } from '@millrace/base';
import { type ChangeKind, formatWebhookSecret, WEBHOOK_SECRET_BYTES, webhookSecretHash } from '@millrace/protocol';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

// Webhooks: addresses to which control sends what changes. The secret is made here and attached to the signed document,
// which has its hash.

export interface NewWebhook {
  readonly name: string;
  /** Address of the receiver. */
  readonly url: string;
  /** Default: all kinds. */
  readonly kinds?: readonly ChangeKind[] | undefined;
}

export interface WebhookSecret {
  readonly webhook: string;
  /** `whsec_…`, for the receiver. It is shown once. */
  readonly secret: string;
}

/** @throws {MillraceError} E_INPUT (an address that control does not send to), E_QUOTA */
export function createWebhook(session: Session, { name, url, kinds }: NewWebhook): Promise<WebhookSecret> {
  return withSecret(session, async (secret, hash) => {
    const body = { type: 'webhook.create' as const, name, url, hash, ...(kinds && { kinds: [...kinds] }) };
    const { id, bytes } = await signNew(session, body);
    await session.api.submit(bytes, { secret });
    return id;
  });
}

/** Replaces the secret. For a day, messages are signed with the former one, too. */
export function rotateWebhook(session: Session, webhook: string): Promise<WebhookSecret> {
  return withSecret(session, async (secret, hash) => {
    await session.api.submit((await signNew(session, { type: 'webhook.rotate', webhook, hash })).bytes, { secret });
    return webhook;
  });
}

export async function setWebhook(session: Session, webhook: string, state: 'on' | 'off' | 'deleted'): Promise<void> {
  await session.api.submit((await signNew(session, { type: 'webhook.set', webhook, state })).bytes);
}

/** Sends a test message; or one message again; or all kept messages after one. @throws {MillraceError} E_NOT_FOUND */
export async function sendToWebhook(
  session: Session,
  webhook: string,
  what: { readonly message?: string | undefined; readonly after?: string | undefined } = {},
): Promise<void> {
  const { message, after } = what;
  const body = { type: 'webhook.send' as const, webhook, ...(message && { message }), ...(after && { after }) };
  await session.api.submit((await signNew(session, body)).bytes);
}

async function withSecret(
  session: Session,
  submit: (secret: Uint8Array, hash: Uint8Array<ArrayBuffer>) => Promise<string>,
): Promise<WebhookSecret> {
  const secret = session.random(WEBHOOK_SECRET_BYTES);
  try {
    const webhook = await submit(secret, webhookSecretHash(secret));
    return { webhook, secret: formatWebhookSecret(secret) };
  } finally {
    wipe(secret);
  }
}
