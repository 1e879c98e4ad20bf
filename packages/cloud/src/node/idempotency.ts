import { createHash } from 'node:crypto';
import {
  type Bytes,
  type Clock,
  KeyedMutex,
  MillraceError,
  PROBLEM_TYPE,
  problemOf,
  toHex,
  utf8,
} from '@millrace/base';
import { z } from 'zod';

/** How long an answer is kept for repeated requests, ms. */
const KEEP_MS = 24 * 3_600_000;
/** Maximum number of answers kept for one caller; the oldest is removed first. */
const MAX_KEPT = 1_000;

export const keptAnswerSchema = z.strictObject({
  caller: z.string(),
  /** SHA-256 of the request, hexadecimal. */
  request: z.string(),
  until: z.int().nonnegative(),
  status: z.int(),
  type: z.string(),
  body: z.instanceof(Uint8Array),
});
type KeptAnswer = z.output<typeof keptAnswerSchema>;

export interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: Bytes;
}

/** Storage of answers: a table of records, or memory. */
export interface AnswerStore {
  get(id: string): Promise<KeptAnswer | undefined>;
  put(id: string, answer: KeptAnswer): Promise<void>;
  remove(id: string): Promise<void>;
  list(): AsyncIterable<readonly [id: string, answer: KeptAnswer]>;
}

export function answersInMemory(): AnswerStore {
  const kept = new Map<string, KeptAnswer>();
  return {
    get: async (id) => kept.get(id),
    put: async (id, answer) => void kept.set(id, answer),
    remove: async (id) => void kept.delete(id),
    list: async function* () {
      yield* kept;
    },
  };
}

interface KeyedRequest {
  /** The caller. Keys of different callers are unrelated. */
  readonly caller: string;
  readonly key: string;
  /** All parts that identify the request. */
  readonly parts: readonly (string | Uint8Array)[];
}

/**
 * Answers to writes with an `Idempotency-Key`: the same request again gets the first answer, whether it succeeded or
 * failed permanently. Temporary errors (such as E_UNAVAILABLE) are not kept, so the write can be tried again. A node
 * that is killed between the write and its record repeats the write, as it would without a key.
 */
export class IdempotentAnswers {
  readonly #store: AnswerStore;
  readonly #clock: Clock;
  readonly #running = new KeyedMutex();
  /** Keys by caller, the oldest first. */
  readonly #kept = new Map<string, Set<string>>();

  private constructor(store: AnswerStore, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  static async open(store: AnswerStore, clock: Clock): Promise<IdempotentAnswers> {
    const answers = new IdempotentAnswers(store, clock);
    const found: (readonly [string, KeptAnswer])[] = [];
    for await (const entry of store.list()) found.push(entry);
    for (const [id, { caller }] of found.sort(([, a], [, b]) => a.until - b.until)) answers.#note(caller, id);
    return answers;
  }

  /** @throws {MillraceError} E_IDEMPOTENCY, and the errors of `write` */
  once({ caller, key, parts }: KeyedRequest, write: () => Promise<Answer>): Promise<Answer> {
    const id = hash([caller, key]);
    const request = hash(parts);
    return this.#running.run(id, async () => {
      const kept = await this.#store.get(id);
      if (kept !== undefined && kept.until > this.#clock.now()) {
        if (kept.request !== request) throw new MillraceError('E_IDEMPOTENCY', 'the key was used for another request');
        return kept;
      }
      const keep = async (answer: Answer) => {
        await this.#keep(id, { ...answer, caller, request, until: this.#clock.now() + KEEP_MS });
        return answer;
      };
      try {
        return await keep(await write());
      } catch (error) {
        if (!(error instanceof MillraceError) || error.retryable || error.http >= 500) throw error;
        return keep({ status: error.http, type: PROBLEM_TYPE, body: utf8(JSON.stringify(problemOf(error))) });
      }
    });
  }

  /** Removes answers older than a day. */
  async forget(): Promise<void> {
    const now = this.#clock.now();
    for await (const [id, { caller, until }] of this.#store.list()) if (until <= now) await this.#remove(caller, id);
  }

  async #keep(id: string, answer: KeptAnswer): Promise<void> {
    await this.#store.put(id, answer);
    this.#note(answer.caller, id);
    const [oldest, ...others] = this.#kept.get(answer.caller) ?? [];
    if (oldest !== undefined && others.length >= MAX_KEPT) await this.#remove(answer.caller, oldest);
  }

  #note(caller: string, id: string): void {
    const ids = this.#kept.get(caller) ?? new Set();
    ids.delete(id);
    ids.add(id);
    this.#kept.set(caller, ids);
  }

  async #remove(caller: string, id: string): Promise<void> {
    await this.#store.remove(id);
    const ids = this.#kept.get(caller);
    ids?.delete(id);
    if (ids?.size === 0) this.#kept.delete(caller);
  }
}

/** Hashes the parts with their lengths, so that different lists of parts have different hashes. */
function hash(parts: readonly (string | Uint8Array)[]): string {
  const digest = createHash('sha256');
  for (const part of parts) {
    const bytes = typeof part === 'string' ? utf8(part) : part;
    digest.update(`${bytes.length}:`).update(bytes);
  }
  return toHex(digest.digest());
}
