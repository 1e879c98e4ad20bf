import type { PageQuery, WebhookMessageView, WebhookView } from '@millrace/api';
import { type Bytes, equalBytes, MillraceError } from '@millrace/base';
import { type TransactionOf, WEBHOOK_SECRET_BYTES, webhookSecretHash } from '@millrace/protocol';
import { type Actor, authorize } from '../../node/policy.ts';
import { isTold } from '../changes.ts';
import type { ControlContext } from '../context.ts';
import { replay } from '../replay.ts';
import type { Submitted } from '../submitted.ts';
import { page } from '../views.ts';
import type { WebhookMessageRecord, WebhookRecord } from './records.ts';

const MOST_OF_A_KEY = 10;
const MOST_OF_AN_ORGANISATION = 50;
/** For this time after a rotation, messages are signed with the former secret, too, ms. */
const OVERLAP_MS = 86_400_000;

/** What decides who may change a webhook. */
const resourceOf = ({ key, organisation }: WebhookRecord) => ({ signer: key, organisation });

export async function createWebhook(
  context: ControlContext,
  { body, actor, bytes }: Submitted<TransactionOf<'webhook.create'>>,
  secret: Bytes | undefined,
  webhook: string,
): Promise<{ webhook: string }> {
  const { records, clock, webhooks } = context;
  authorize(actor, 'webhook.create');
  const { name, url, kinds, hash } = body;
  webhooks.addresses.requireUrl(url);
  const { organisation } = actor.member ?? {};
  const atMost = async (most: number, index: 'key' | 'organisation', group: string) => {
    let count = 0;
    for await (const _ of records.webhooks.list({ index, group })) count++;
    if (count >= most)
      throw new MillraceError(
        'E_QUOTA',
        `${index === 'key' ? 'a key' : 'an organisation'} has at most ${most} webhooks`,
      );
  };
  await atMost(MOST_OF_A_KEY, 'key', actor.name);
  if (organisation !== undefined) await atMost(MOST_OF_AN_ORGANISATION, 'organisation', organisation);
  const record: WebhookRecord = {
    ...{ webhook, name, url, key: actor.name, created: clock.now(), secret: attached(secret, hash), document: bytes },
    ...(kinds && { kinds: [...kinds] }),
    ...(organisation !== undefined && { organisation }),
  };
  if (!(await webhooks.outbox.create(record))) throw replay(webhook);
  return { webhook };
}

export async function rotateWebhook(
  context: ControlContext,
  { body, actor }: Submitted<TransactionOf<'webhook.rotate'>>,
  attachment: Bytes | undefined,
): Promise<{ webhook: string }> {
  const { records, clock, webhooks } = context;
  const { webhook, hash } = body;
  authorize(actor, 'webhook.change', resourceOf(await records.webhooks.require(webhook)));
  const secret = attached(attachment, hash);
  await webhooks.outbox.update(webhook, (record) => ({
    ...record,
    secret,
    former: { secret: record.secret, until: clock.now() + OVERLAP_MS },
  }));
  return { webhook };
}

export async function setWebhook(
  context: ControlContext,
  { body, actor }: Submitted<TransactionOf<'webhook.set'>>,
): Promise<{ webhook: string }> {
  const { records, clock, webhooks } = context;
  const { webhook, state } = body;
  authorize(actor, 'webhook.set', resourceOf(await records.webhooks.require(webhook)));
  if (state === 'deleted') await webhooks.outbox.remove(webhook);
  else
    await webhooks.outbox.update(webhook, ({ off, failingSince, ...record }) => {
      if (state === 'on') return record;
      return { ...record, ...(failingSince && { failingSince }), off: off ?? { at: clock.now(), reason: 'person' } };
    });
  return { webhook };
}

/** @throws {MillraceError} E_NOT_FOUND: the message is not kept any more */
export async function sendWebhook(
  context: ControlContext,
  { body, actor }: Submitted<TransactionOf<'webhook.send'>>,
): Promise<{ webhook: string }> {
  const { records, webhooks } = context;
  const { webhook, message, after } = body;
  const record = await records.webhooks.require(webhook);
  authorize(actor, 'webhook.change', resourceOf(record));
  if (record.off !== undefined) throw new MillraceError('E_STATE', 'the webhook is off: turn it on first');
  const named = message ?? after;
  if (named === undefined) {
    await webhooks.outbox.add(webhook, { type: 'test' });
    return { webhook };
  }
  const found = await records.webhookMessages.get(named);
  if (found?.webhook !== webhook) throw new MillraceError('E_NOT_FOUND', 'the webhook has no such message any more');
  await webhooks.outbox.again(message === undefined ? await messagesAfter(context, webhook, named) : [found]);
  return { webhook };
}

async function messagesAfter({ records }: ControlContext, webhook: string, after: string) {
  const messages: WebhookMessageRecord[] = [];
  for await (const [id, message] of records.webhookMessages.list({ index: 'webhook', group: webhook }))
    if (id > after) messages.push(message);
  return messages;
}

/** @throws {MillraceError} E_INPUT */
function attached(secret: Bytes | undefined, hash: Uint8Array): Bytes {
  if (secret?.length !== WEBHOOK_SECRET_BYTES || !equalBytes(webhookSecretHash(secret), hash))
    throw new MillraceError(
      'E_INPUT',
      `the attached secret has to be the ${WEBHOOK_SECRET_BYTES} bytes that were signed`,
    );
  return secret;
}

/** Webhooks of a key or of an organisation's people, the newest first. */
export function webhooksPage(context: ControlContext, index: 'key' | 'organisation', group: string, query: PageQuery) {
  const at = { index, group, reverse: true };
  return page(context, context.records.webhooks, at, query, (record) => webhookView(context, record));
}

async function webhookView(context: ControlContext, record: WebhookRecord): Promise<WebhookView> {
  const { secret: _, former, document: __, ...shown } = record;
  const user = await context.records.users.get(record.key);
  return {
    ...shown,
    by: user?.name ?? 'administrator',
    waiting: context.webhooks.outbox.waiting(record.webhook),
    ...(former && former.until > context.clock.now() && { formerSecretUntil: former.until }),
  };
}

/** Messages of a webhook, of what the actor may read, the newest first. */
export function webhookMessagesPage(context: ControlContext, webhook: string, actor: Actor, query: PageQuery) {
  const at = { index: 'webhook', group: webhook, reverse: true };
  return page(context, context.records.webhookMessages, at, query, async (record) =>
    record.change === undefined || isTold(actor, record.change) ? messageView(record) : undefined,
  );
}

function messageView(record: WebhookMessageRecord): WebhookMessageView {
  const { message, type, change, created, state, attempts, next, last } = record;
  return {
    ...{ message, created, state, attempts },
    type: change === undefined ? type : `${change.kind}.changed`,
    ...(change && { change: { kind: change.kind, id: change.id } }),
    ...(state === 'waiting' && { next }),
    ...(last && { last }),
  };
}
