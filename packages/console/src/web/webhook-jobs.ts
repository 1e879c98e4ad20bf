import {
  createWebhook,
  rotateWebhook,
  type Session,
  sendToWebhook,
  setWebhook,
  type WebhookSecret,
} from '@millrace/client';
import type { ChangeKind } from '@millrace/protocol';
import type { Identity } from './identity-shape.ts';

// Jobs of the key's worker for webhooks.

export type WebhookJob = { readonly identity: Identity } & (
  | {
      readonly type: 'create-webhook';
      readonly name: string;
      readonly url: string;
      readonly kinds?: readonly ChangeKind[] | undefined;
    }
  | { readonly type: 'rotate-webhook' | 'test-webhook'; readonly webhook: string }
  | { readonly type: 'set-webhook'; readonly webhook: string; readonly state: 'on' | 'off' | 'deleted' }
);

export async function performForWebhooks(job: WebhookJob, session: Session): Promise<WebhookSecret | undefined> {
  switch (job.type) {
    case 'create-webhook':
      return createWebhook(session, job);
    case 'rotate-webhook':
      return rotateWebhook(session, job.webhook);
    case 'test-webhook':
      await sendToWebhook(session, job.webhook);
      return undefined;
    case 'set-webhook':
      await setWebhook(session, job.webhook, job.state);
      return undefined;
  }
}
