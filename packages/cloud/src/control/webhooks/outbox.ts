import {
  type Clock,
  type Closable,
  concatBytes,
  type Logger,
  type RandomSource,
  toHex,
  toMillraceError,
  u64be,
} from '@millrace/base';
import type { UserActor } from '../../node/policy.ts';
import { type Change, type Changes, isTold } from '../changes.ts';
import type { Records } from '../records.ts';
import type { WebhookMessageRecord, WebhookRecord } from './records.ts';

/** Messages that are kept for one webhook. If more change, it gets one `reset` instead of the oldest. */
const MOST_KEPT = 1_000;
/** How long messages are kept, ms. */
const KEEP_MS = 7 * 86_400_000;
/** Changes that wait for the store. */
const MOST_UNWRITTEN = 10_000;

export interface OutboxModules {
  readonly records: Records;
  /** The person of a key; undefined if the key was revoked or has expired. */
  readonly actorOf: (key: string) => Promise<UserActor | undefined>;
  readonly changes: Pick<Changes, 'listen'>;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly logger: Logger;
}

/** What is known of a webhook without a read. */
interface Known {
  /** Why it is off. */
  off: NonNullable<WebhookRecord['off']>['reason'] | undefined;
  /** Ids of the kept messages, the oldest first. */
  readonly kept: string[];
  /** When each message that is not received is due. */
  readonly waiting: Map<string, number>;
  /** A `reset` that waits: there is no need for a second one. */
  reset?: string | undefined;
}

/**
 * Messages to webhooks. A message is stored before it is sent, so that a restart loses none. What changes between the
 * write of a record and that of its message can be lost by a crash: after each start, every webhook gets a `reset`, as
 * callers of `/v1/events` do.
 */
export class WebhookOutbox {
  readonly #modules: OutboxModules;
  readonly #known = new Map<string, Known>();
  #lastId = { at: 0, count: 0 };
  #unwritten: Change[] = [];
  #isFull = false;
  #writing: Promise<void> | undefined;
  #onAdded: () => void = () => undefined;

  constructor(modules: OutboxModules) {
    this.#modules = modules;
  }

  /**
   * Reads what is stored, and then listens to changes.
   * @param onAdded called when a message is due at once
   * @returns how to end it: what has changed is stored first
   */
  async open(onAdded: () => void): Promise<Closable> {
    const { records, changes } = this.#modules;
    for await (const [, webhook] of records.webhooks.list()) this.#note(webhook);
    for await (const [, message] of records.webhookMessages.list()) this.#noteMessage(message);
    for (const { kept } of this.#known.values()) {
      kept.sort();
      const [newest] = kept.slice(-1);
      if (newest !== undefined && timeOf(newest) > this.#lastId.at)
        this.#lastId = { at: timeOf(newest), count: 0xffff };
    }
    this.#onAdded = onAdded;
    for (const [id, { off }] of this.#known) if (off === undefined) await this.#reset(id);
    const unlisten = changes.listen(this.#changed);
    return {
      close: async () => {
        unlisten();
        await this.#writing;
      },
    };
  }

  /** @returns false when there is one already */
  async create(record: WebhookRecord): Promise<boolean> {
    const created = await this.#modules.records.webhooks.create(record.webhook, record);
    if (created) this.#note(record);
    return created;
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  async update(webhook: string, change: (record: WebhookRecord) => WebhookRecord): Promise<WebhookRecord> {
    const record = await this.#modules.records.webhooks.update(webhook, change);
    const wasOn = this.#note(record);
    // What changed meanwhile was not written down.
    if (!wasOn && record.off === undefined) await this.#reset(webhook);
    return record;
  }

  async remove(webhook: string): Promise<void> {
    const { webhooks, webhookMessages } = this.#modules.records;
    this.#known.delete(webhook);
    await webhooks.remove(webhook);
    for await (const [id] of webhookMessages.list({ index: 'webhook', group: webhook }))
      await webhookMessages.remove(id);
  }

  /** @returns the message's id */
  async add(
    webhook: string,
    { type, change }: Pick<WebhookMessageRecord, 'type' | 'change'>,
  ): Promise<string | undefined> {
    const known = this.#known.get(webhook);
    if (known === undefined) return undefined;
    const created = this.#modules.clock.now();
    const message = this.#newId(created);
    const record: WebhookMessageRecord = {
      ...{ message, webhook, type, created, state: 'waiting', since: created, attempts: 0, next: created },
      ...(change && { change }),
    };
    await this.#modules.records.webhookMessages.create(message, record);
    // Deleted meanwhile: whoever deleted it may not have seen this message.
    if (!this.#known.has(webhook)) {
      await this.#modules.records.webhookMessages.remove(message);
      return undefined;
    }
    this.#noteMessage(record);
    if (known.kept.length > MOST_KEPT) await this.#dropOldest(webhook, known);
    this.#onAdded();
    return message;
  }

  /** Sends kept messages again. */
  async again(messages: readonly WebhookMessageRecord[]): Promise<void> {
    const now = this.#modules.clock.now();
    for (const { message } of messages)
      await this.change(message, (record) => ({ ...record, state: 'waiting', since: now, attempts: 0, next: now }));
    this.#onAdded();
  }

  /** @throws {MillraceError} E_NOT_FOUND */
  async change(
    message: string,
    change: (record: WebhookMessageRecord) => WebhookMessageRecord,
  ): Promise<WebhookMessageRecord> {
    const record = await this.#modules.records.webhookMessages.update(message, change);
    this.#noteMessage(record);
    return record;
  }

  /** The next message of each webhook that is on, if it is due. */
  due(now: number): { readonly webhook: string; readonly message: string }[] {
    return [...this.#known].flatMap(([webhook, { off, waiting }]) => {
      if (off !== undefined) return [];
      let first: string | undefined;
      for (const [message, next] of waiting) if (next <= now && (first ?? message) >= message) first = message;
      return first === undefined ? [] : [{ webhook, message: first }];
    });
  }

  waiting(webhook: string): number {
    return this.#known.get(webhook)?.waiting.size ?? 0;
  }

  /** Number of webhooks that control has turned off. */
  get turnedOff(): number {
    return [...this.#known.values()].filter(({ off }) => off !== undefined && off !== 'person').length;
  }

  /** The person for whose key a webhook is told; undefined if the key was revoked or has expired. */
  actorOf(key: string): Promise<UserActor | undefined> {
    return this.#modules.actorOf(key);
  }

  /** Removes messages that are too old to be sent again. */
  async forget(): Promise<void> {
    const before = this.#modules.clock.now() - KEEP_MS;
    for (const [, known] of this.#known)
      for (let oldest = known.kept[0]; oldest !== undefined && timeOf(oldest) < before; oldest = known.kept[0])
        await this.#forgetMessage(known, oldest);
  }

  readonly #changed = (change: Change): void => {
    // Live figures have no number: they are not told again either.
    if (change.number === undefined || ![...this.#known.values()].some(({ off }) => off === undefined)) return;
    if (this.#unwritten.length >= MOST_UNWRITTEN) this.#isFull = true;
    else this.#unwritten.push(change);
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  };

  async #write(): Promise<void> {
    const { logger } = this.#modules;
    while (this.#unwritten.length > 0) {
      const batch = this.#unwritten.splice(0);
      for (const [id, { off }] of [...this.#known]) {
        if (off !== undefined) continue;
        await this.#tell(id, batch).catch((error: unknown) => {
          logger.warn({ err: toMillraceError(error), webhook: id }, 'messages to a webhook not stored');
        });
      }
    }
    if (!this.#isFull) return;
    this.#isFull = false;
    for (const [id, { off }] of [...this.#known]) if (off === undefined) await this.#reset(id);
  }

  async #tell(id: string, batch: readonly Change[]): Promise<void> {
    const webhook = await this.#modules.records.webhooks.get(id);
    if (webhook === undefined) return;
    // The sender turns a webhook off whose key no longer counts.
    const actor = await this.actorOf(webhook.key);
    if (actor === undefined) return;
    const { kinds } = webhook;
    for (const change of batch) {
      if ((kinds !== undefined && !kinds.includes(change.kind)) || !isTold(actor, change)) continue;
      const { kind, resource, approvers } = change;
      const { owner, holder } = resource;
      const stored = {
        ...{ kind, id: change.id, resource: { ...(owner && { owner }), ...(holder && { holder }) } },
        ...(approvers && { approvers: [...approvers] }),
      };
      await this.add(id, { type: 'changed', change: stored });
    }
  }

  async #reset(webhook: string): Promise<void> {
    const known = this.#known.get(webhook);
    if (known === undefined || known.reset !== undefined) return;
    await this.add(webhook, { type: 'reset' });
  }

  async #dropOldest(webhook: string, known: Known): Promise<void> {
    const [oldest] = known.kept;
    if (oldest === undefined) return;
    const wasWaiting = known.waiting.has(oldest);
    await this.#forgetMessage(known, oldest);
    if (wasWaiting) await this.#reset(webhook);
  }

  async #forgetMessage(known: Known, message: string): Promise<void> {
    await this.#modules.records.webhookMessages.remove(message);
    const at = known.kept.indexOf(message);
    if (at >= 0) known.kept.splice(at, 1);
    known.waiting.delete(message);
    if (known.reset === message) known.reset = undefined;
  }

  /** @returns whether it was on, or is new */
  #note({ webhook, off }: WebhookRecord): boolean {
    const known = this.#known.get(webhook);
    if (known === undefined) {
      this.#known.set(webhook, { off: off?.reason, kept: [], waiting: new Map() });
      return true;
    }
    const wasOn = known.off === undefined;
    known.off = off?.reason;
    return wasOn;
  }

  #noteMessage({ webhook, message, type, state, next }: WebhookMessageRecord): void {
    const known = this.#known.get(webhook);
    if (known === undefined) return;
    if (!known.kept.includes(message)) known.kept.push(message);
    if (state === 'waiting') known.waiting.set(message, next);
    else known.waiting.delete(message);
    if (type !== 'reset') return;
    if (state === 'waiting') known.reset = message;
    else if (known.reset === message) known.reset = undefined;
  }

  /** 6 bytes of time, 2 of a counter, 8 at random: greater than all before, also when the clock is set back. */
  #newId(now: number): string {
    const { at, count } = this.#lastId;
    const isLater = now > at;
    this.#lastId = {
      at: isLater ? now : at + (count >= 0xffff ? 1 : 0),
      count: isLater || count >= 0xffff ? 0 : count + 1,
    };
    const ordered = u64be(BigInt(this.#lastId.at) * 0x10000n + BigInt(this.#lastId.count));
    return toHex(concatBytes(ordered, this.#modules.random(8)));
  }
}

const timeOf = (message: string): number => Number.parseInt(message.slice(0, 12), 16);
