import { MillraceError } from '@millrace/base';
import {
  createWebhook,
  pick,
  rotateWebhook,
  sendToWebhook,
  setWebhook,
  type WebhookMessageView,
  type WebhookView,
} from '@millrace/client';
import { changeKinds } from '@millrace/protocol';
import type { InstallationSession } from '../installation/session.ts';
import { formatTable } from '../output/format.ts';
import { type Context, oneOf, withSession } from './context.ts';
import { organisationOf } from './people.ts';

interface OfOrg {
  readonly org?: string;
}

export function create(
  context: Context,
  url: string,
  options: { readonly name: string; readonly kind?: readonly string[] },
): Promise<void> {
  const kinds = options.kind?.map((kind) => oneOf('--kind', kind, changeKinds));
  return withSession(context, 'owner', async (session) => {
    const made = await createWebhook(session, { name: options.name, url, kinds });
    context.terminal.result({ ...made, name: options.name, url }, shownOnce(made.webhook, made.secret));
  });
}

export function list(context: Context, { org }: OfOrg): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const webhooks = await webhooksOf(session, org);
    context.terminal.result(
      { webhooks },
      webhooks.length === 0
        ? 'No webhooks.'
        : formatTable(
            ['webhook', 'name', 'address', 'kinds', 'made by', 'waiting', 'state'],
            webhooks.map((one) => [
              ...[one.webhook, one.name, one.url, one.kinds?.join(', ') ?? 'all'],
              ...[`${one.by} (${one.key.slice(0, 8)})`, String(one.waiting), stateOf(one)],
            ]),
          ),
    );
  });
}

export function messages(context: Context, who: string, { org }: OfOrg): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const sent = await session.api.webhookMessages((await webhookOf(session, who, org)).webhook);
    context.terminal.result(
      { messages: sent },
      sent.length === 0
        ? 'No messages.'
        : formatTable(
            ['message', 'type', 'of', 'created', 'attempts', 'state', 'answer'],
            sent.map((one) => [
              ...[one.message, one.type, one.change?.id ?? '', timeOf(one.created), String(one.attempts)],
              ...[one.next === undefined ? one.state : `${one.state}, next ${timeOf(one.next)}`, answerOf(one)],
            ]),
          ),
    );
  });
}

export function rotate(context: Context, who: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const made = await rotateWebhook(session, (await webhookOf(session, who, undefined)).webhook);
    context.terminal.result(
      { ...made },
      `${shownOnce(made.webhook, made.secret)}\nFor a day, messages are signed with the former secret, too.`,
    );
  });
}

export function set(context: Context, who: string, state: 'on' | 'off' | 'deleted', { org }: OfOrg): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { webhook, name } = await webhookOf(session, who, org);
    await setWebhook(session, webhook, state);
    context.terminal.result({ webhook, state }, `The webhook ${name} (${webhook}) is ${state}.`);
  });
}

export function test(context: Context, who: string): Promise<void> {
  return withSession(context, 'owner', async (session) => {
    const { webhook, name } = await webhookOf(session, who, undefined);
    await sendToWebhook(session, webhook);
    context.terminal.result({ webhook }, `A test message goes to ${name}: see \`webhook messages ${name}\`.`);
  });
}

export function replay(
  context: Context,
  who: string,
  options: { readonly message?: string; readonly after?: string },
): Promise<void> {
  if (options.message === undefined && options.after === undefined)
    throw new MillraceError('E_INPUT', 'name a message, or the one after which all are sent: --message, --after');
  return withSession(context, 'owner', async (session) => {
    const { webhook, name } = await webhookOf(session, who, undefined);
    await sendToWebhook(session, webhook, options);
    context.terminal.result({ webhook, ...options }, `The messages go to ${name} again.`);
  });
}

function webhooksOf(session: InstallationSession, org: string | undefined): Promise<WebhookView[]> {
  if (org === undefined) return session.api.webhooks();
  return organisationOf(session, org).then(({ organisation }) => session.api.organisationWebhooks(organisation));
}

async function webhookOf(session: InstallationSession, who: string, org: string | undefined): Promise<WebhookView> {
  return pick('webhook', who, await webhooksOf(session, org), ({ webhook, name }) => [webhook, name]);
}

const shownOnce = (webhook: string, secret: string) =>
  [`The webhook is ${webhook}. Its secret is shown once; the receiver needs it:`, '', secret, ''].join('\n');

function stateOf({ off, failingSince }: WebhookView): string {
  if (off !== undefined) return `off since ${timeOf(off.at)} (${off.reason})`;
  return failingSince === undefined ? 'on' : `on, failing since ${timeOf(failingSince)}`;
}

const answerOf = ({ last }: WebhookMessageView): string => String(last?.status ?? last?.code ?? '');
const timeOf = (time: number): string => `${new Date(time).toISOString().slice(0, 19)}Z`;
