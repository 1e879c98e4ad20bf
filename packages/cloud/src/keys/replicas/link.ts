import {
  type Bytes,
  type Condition,
  copyBytes,
  equalBytes,
  type Logger,
  MillraceError,
  sleep,
  systemRandom,
  wipe,
  within,
} from '@millrace/base';
import type { Collection } from '@millrace/stores';
import {
  answerSchema,
  type Change,
  type Content,
  digestOf,
  placesOf,
  type ReplicaAnswer,
  type ReplicaTimes,
  sealContent,
} from './messages.ts';
import type { Statements } from './statements.ts';

/** Slots in one message. */
const MOST_CHANGES = 500;

/** Everything that has been written, at one moment. */
export interface WholeContent extends Content {
  readonly changes: readonly Change[];
  readonly counts: readonly number[];
  /** Number of the last change that it contains. */
  readonly upTo: number;
}

/** What a link asks of the active replica. */
export interface LeadOfLink {
  isInSync(id: string): boolean;
  /** Called before a replica gets keys: the group says so from then on. */
  noteHolding(id: string): Promise<void>;
  /** @param begin called at the moment of the content: every later change is passed to `push` */
  wholeContent(begin: () => void): Promise<WholeContent>;
  /** Adds a replica that has everything to those in sync. */
  join(id: string): Promise<void>;
  /** Number of the last change, and the oldest epoch whose key is there after it. */
  newest(): { readonly number: number; readonly oldest: number };
}

export interface LinkOptions {
  /** Id of the other replica. */
  readonly id: string;
  /** Id of this one. */
  readonly own: string;
  /** Of this one's lease. */
  readonly token: number;
  /** Oldest epoch of which the other one may hold the key; undefined if it holds none. */
  readonly oldest: number | undefined;
  readonly lead: LeadOfLink;
  readonly collection: Collection;
  readonly statements: Statements;
  /** Notified when something was written or confirmed. */
  readonly changed: Condition;
  readonly times: ReplicaTimes;
  readonly logger: Logger;
}

/** Another replica, as the active one knows it: it gets the whole content, and then every change. */
export class Link {
  readonly id: string;
  readonly #options: LinkOptions;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  readonly #running: Promise<void>;
  /** Changes that are not confirmed; undefined until the whole content is being sent. */
  #queue: { readonly number: number; readonly change: Change }[] | undefined;
  #confirmed = -1;
  #joining = false;
  #asked: number | undefined;
  #oldest: number | undefined;

  /** @param signal ends it */
  constructor(options: LinkOptions, signal: AbortSignal) {
    this.#options = options;
    this.id = options.id;
    this.#oldest = options.oldest;
    this.#signal = AbortSignal.any([signal, this.#stop.signal]);
    this.#running = this.#run();
  }

  /** Oldest epoch of which the other replica may hold the key; undefined if it holds none. */
  get oldest(): number | undefined {
    return this.#oldest;
  }

  /** Whether changes wait for it although it is not in sync yet. */
  get joining(): boolean {
    return this.#joining;
  }

  /** Whether every change up to this one is durable there. */
  has(number: number): boolean {
    return this.#confirmed >= number;
  }

  /** How long a message has been waiting for its answer, ms. */
  get silentMs(): number {
    return this.#asked === undefined ? 0 : performance.now() - this.#asked;
  }

  push(number: number, [file, slot, content]: Change): void {
    this.#queue?.push({ number, change: [file, slot, copyBytes(content)] });
  }

  /** Changes no longer wait for a replica that was about to be in sync. */
  giveUp(): void {
    this.#joining = false;
    this.#options.changed.notify();
  }

  async close(): Promise<void> {
    this.#stop.abort(new MillraceError('E_UNAVAILABLE', 'the replica was removed, or this one is closing'));
    await this.#running;
    this.#forget();
  }

  async #run(): Promise<void> {
    const { logger, times } = this.#options;
    while (!this.#signal.aborted) {
      try {
        await this.#serve();
      } catch (error) {
        if (this.#signal.aborted) return;
        logger.warn({ err: error, replica: this.id }, 'a replica begins anew');
        this.giveUp();
        await sleep(times.pollMs, this.#signal).catch(() => undefined);
      }
    }
  }

  /** One instance of the other replica. @throws when it begins anew */
  async #serve(): Promise<void> {
    const { lead, statements } = this.#options;
    this.#forget();
    let { instance, point } = await this.#ask(undefined);
    let number = 0;
    const send = async (content: Content) => {
      number++;
      const sealed = await sealContent({ of: statements.node, replica: this.id, instance, number }, point, content);
      const answer = await this.#ask({ instance, number, sealed });
      if (answer.instance !== instance || answer.number !== number)
        throw new MillraceError('E_STATE', `the replica ${this.id} has started again`);
      point = answer.point;
    };
    await lead.noteHolding(this.id);
    const whole = await lead.wholeContent(() => {
      this.#queue = [];
    });
    const { changes, counts } = whole;
    try {
      for (let at = 0; at === 0 || at < changes.length; at += MOST_CHANGES) {
        const isLast = at + MOST_CHANGES >= changes.length;
        await send({ changes: changes.slice(at, at + MOST_CHANGES), ...(isLast && { counts }) });
      }
    } finally {
      wipe(...changes.map(([, , content]) => content));
    }
    this.#confirm(whole.upTo);
    for (;;) {
      if (!lead.isInSync(this.id)) {
        // First no change is complete without it, then it must have all that were: then it is in sync.
        this.#joining = true;
        if (this.#isIdle()) {
          await lead.join(this.id);
          this.#joining = false;
        }
      }
      await this.#pause();
      const some = this.#queue?.slice(0, MOST_CHANGES) ?? [];
      await send({ changes: some.map(({ change }) => change) });
      this.#queue?.splice(0, some.length);
      wipe(...some.map(({ change }) => change[2]));
      this.#confirm(some.at(-1)?.number ?? this.#confirmed);
    }
  }

  #isIdle(): boolean {
    return this.#queue?.length === 0;
  }

  /** Waits for the next change, or until the other replica's key has to be renewed. */
  async #pause(): Promise<void> {
    const { changed, times } = this.#options;
    const end = performance.now() + times.pulseMs;
    for (let left = times.pulseMs; left > 0 && this.#isIdle(); left = end - performance.now()) {
      const next = changed.wait(this.#signal).then(() => true as const);
      next.catch(() => undefined); // also after the time below
      await within(next, left, this.#signal);
    }
  }

  #confirm(number: number): void {
    this.#confirmed = Math.max(this.#confirmed, number);
    const newest = this.#options.lead.newest();
    if (this.#confirmed === newest.number) this.#oldest = newest.oldest;
    this.#options.changed.notify();
  }

  /** Sends a message, and waits for its answer. @throws the signal's reason */
  async #ask(
    changes: { readonly instance: string; readonly number: number; readonly sealed: Bytes } | undefined,
  ): Promise<ReplicaAnswer> {
    const { statements, own, token, collection, logger } = this.#options;
    const { pollMs, repeatMs } = this.#options.times;
    const { to, from } = placesOf(this.id);
    const message = statements.make(to, { token, active: own, nonce: systemRandom(16), changes });
    const digest = digestOf(message);
    this.#asked ??= performance.now();
    for (let written = Number.NEGATIVE_INFINITY; ; await sleep(pollMs, this.#signal)) {
      this.#signal.throwIfAborted();
      try {
        if (performance.now() - written >= repeatMs) {
          await collection.put(to, message);
          written = performance.now();
          continue;
        }
        const bytes = await collection.get(from);
        if (bytes === undefined) continue;
        const answer = statements.read(answerSchema, from, bytes);
        if (!equalBytes(answer.to, digest)) continue;
        this.#asked = undefined;
        return answer;
      } catch (error) {
        // Withheld, or written by somebody else.
        logger.debug({ err: error, replica: this.id }, 'no answer of a replica yet');
        await sleep(repeatMs, this.#signal);
      }
    }
  }

  /** Wipes what waits to be sent. Nothing is queued until the whole content is being sent. */
  #forget(): void {
    wipe(...(this.#queue ?? []).map(({ change }) => change[2]));
    this.#queue = undefined;
  }
}
