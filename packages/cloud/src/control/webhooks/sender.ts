import {
  type Clock,
  type Closable,
  type Counter,
  type Gauge,
  type Logger,
  type Metrics,
  toMillraceError,
} from '@millrace/base';
import type { WebhookSettings } from '../../settings.ts';
import { isTold } from '../changes.ts';
import type { Records } from '../records.ts';
import type { WebhookAddresses } from './addresses.ts';
import type { WebhookOutbox } from './outbox.ts';
import { type Posted, postWebhook } from './post.ts';
import type { WebhookMessageRecord, WebhookRecord } from './records.ts';

/** Between two looks at what is due, ms. */
const LOOK_MS = 500;
/** Each attempt waits this many times longer than the one before, up to the longest pause. */
const FACTOR = 4;
const LONGEST_MS = 6 * 3_600_000;
/** A message is given up after this time, ms. */
const GIVE_UP_MS = 3 * 86_400_000;
/** A webhook that has received nothing for this time is turned off, ms. */
const FAILING_MS = 5 * 86_400_000;
/** Requests at the same time: in all, and for the webhooks of one party. One webhook has one. */
const MOST = 32;
const MOST_OF_A_PARTY = 4;

export type SenderSettings = Pick<WebhookSettings, 'retryMs' | 'authority'>;

export interface SenderModules {
  readonly outbox: WebhookOutbox;
  readonly records: Pick<Records, 'webhooks' | 'webhookMessages'>;
  readonly addresses: WebhookAddresses;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** From 0 to 1. For tests. */
  readonly random?: () => number;
  readonly post?: typeof postWebhook;
}

/** Sends what is due in the outbox, again and again until it is received or given up. */
export class WebhookSender implements Closable {
  readonly #settings: SenderSettings;
  readonly #modules: SenderModules;
  /** By webhook: its party. */
  readonly #busy = new Map<string, string>();
  readonly #running = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #attempts: Counter;
  readonly #off: Gauge;

  constructor(settings: SenderSettings, modules: SenderModules) {
    this.#settings = settings;
    this.#modules = modules;
    const { metrics } = modules;
    this.#attempts = metrics.counter('millrace_webhook_attempts_total', 'messages sent to webhooks, by outcome');
    this.#off = metrics.gauge(
      'millrace_webhooks_off',
      'webhooks that were turned off because of failures, or because their key no longer counts',
    );
    this.#timer = setInterval(this.look, LOOK_MS);
  }

  /** Sends what is due now. */
  readonly look = (): void => {
    const { outbox, clock, records, logger } = this.#modules;
    if (this.#stop.signal.aborted) return;
    this.#off.set(outbox.turnedOff);
    for (const { webhook, message } of outbox.due(clock.now())) {
      if (this.#busy.size >= MOST) return;
      if (this.#busy.has(webhook)) continue;
      this.#busy.set(webhook, '');
      const work = records.webhooks
        .get(webhook)
        .then((record) => record && this.#attempt(record, message))
        .catch((error: unknown) =>
          logger.warn({ err: toMillraceError(error), webhook, message }, 'a message to a webhook was not sent'),
        )
        .then((hasSent) => {
          this.#busy.delete(webhook);
          this.#running.delete(work);
          // After an error, the next look tries again: a full disk is no reason to send without a pause.
          if (hasSent === true) this.look();
        });
      this.#running.add(work);
    }
  };

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  /** @returns whether another message can follow at once */
  async #attempt(webhook: WebhookRecord, message: string): Promise<boolean> {
    const { outbox, clock, records } = this.#modules;
    const party = webhook.organisation ?? webhook.key;
    if ([...this.#busy.values()].filter((other) => other === party).length >= MOST_OF_A_PARTY) return false;
    this.#busy.set(webhook.webhook, party);
    const actor = await outbox.actorOf(webhook.key);
    if (actor === undefined) {
      await this.#turnOff(webhook, 'key');
      return false;
    }
    const { change } = (await records.webhookMessages.get(message)) ?? {};
    if (change !== undefined && !isTold(actor, change)) {
      await outbox.change(message, (record) => ({ ...record, state: 'withheld' }));
      return true;
    }
    const now = clock.now();
    // Written first: a crash, or a disk that refuses the outcome, must not make it send without a pause.
    const claimed = await outbox.change(message, (record) => ({
      ...record,
      attempts: record.attempts + 1,
      next: now + this.#pauseAfter(record.attempts + 1),
    }));
    const posted = await this.#post(webhook, claimed, now);
    if (this.#stop.signal.aborted) return false;
    await this.#record(webhook, claimed, posted);
    return true;
  }

  #post(webhook: WebhookRecord, message: WebhookMessageRecord, now: number): Promise<Posted> {
    const { addresses, post = postWebhook } = this.#modules;
    const { secret, former } = webhook;
    const secrets = former !== undefined && former.until > now ? [secret, former.secret] : [secret];
    const request = { url: webhook.url, id: message.message, body: bodyOf(message), secrets, now };
    return post(request, addresses, { authority: this.#settings.authority, signal: this.#stop.signal });
  }

  async #record(webhook: WebhookRecord, { message, since }: WebhookMessageRecord, posted: Posted): Promise<void> {
    const { outbox, clock } = this.#modules;
    const at = clock.now();
    const received = 'status' in posted && posted.status >= 200 && posted.status < 300;
    this.#attempts.add(1, { outcome: received ? 'received' : 'failed' });
    const last = 'status' in posted ? { at, status: posted.status } : { at, code: posted.code };
    const pause = 'status' in posted ? posted.pauseMs : 0;
    await outbox.change(message, (record) => {
      if (received) return { ...record, state: 'received', last };
      const next = Math.max(record.next, at + pause);
      return { ...record, next, last, state: next > since + GIVE_UP_MS ? 'failed' : 'waiting' };
    });
    if (received) {
      if (webhook.failingSince !== undefined)
        await outbox.update(webhook.webhook, ({ failingSince: _, ...record }) => record);
      return;
    }
    const { failingSince = at } = await outbox.update(webhook.webhook, (record) =>
      record.failingSince === undefined ? { ...record, failingSince: at } : record,
    );
    if ('status' in posted && posted.status === 410) await this.#turnOff(webhook, 'gone');
    else if (at > failingSince + FAILING_MS) await this.#turnOff(webhook, 'failing');
  }

  async #turnOff({ webhook, organisation }: WebhookRecord, reason: 'key' | 'gone' | 'failing'): Promise<void> {
    const { outbox, clock, logger } = this.#modules;
    const at = clock.now();
    await outbox.update(webhook, (record) => (record.off === undefined ? { ...record, off: { at, reason } } : record));
    logger.warn({ webhook, organisation, reason }, 'webhook turned off: its person can turn it on again');
  }

  /** Doubled twice each time, and up to a fifth longer or shorter, so that receivers are not asked all at once. */
  #pauseAfter(attempts: number): number {
    const { random = Math.random } = this.#modules;
    const pause = Math.min(LONGEST_MS, this.#settings.retryMs * FACTOR ** (attempts - 1));
    return Math.round(pause * (0.8 + 0.4 * random()));
  }
}

/** The same bytes in each attempt. It tells what `/v1/events` tells. */
export function bodyOf({ type, change, created }: WebhookMessageRecord): string {
  const timestamp = new Date(created).toISOString();
  if (change === undefined) return JSON.stringify({ type, timestamp, data: {} });
  const { kind, id } = change;
  return JSON.stringify({ type: `${kind}.changed`, timestamp, data: { kind, id } });
}
