import { within } from '@millrace/base';
import { chooseNode, type Directory } from '@millrace/protocol';
import {
  type CheckedMessage,
  encodeMessage,
  type MaintainedMessage,
  type StoredMessage,
  type VaultMessage,
  wipeMessage,
} from '@millrace/vault';
import type { VaultKeys } from './vault-keys.ts';

/** Time after which a message without an answer is sent again, ms. */
const ANSWER_MS = 30_000;

/** Partition of messages that concern cells of many designs, because one segments node holds all these cells. */
const VAULT = 'vault';

export type VaultAnswer = MaintainedMessage | StoredMessage | CheckedMessage;

export interface Posted<Answer> {
  /** Resends the message until its answer arrives. Call it once. */
  readonly answer: () => Promise<Answer>;
  readonly bytes: number;
}

interface Waiting {
  take(answer: VaultAnswer): void;
  /** Sends the message again. */
  repeat(node: string): void;
}

/** Messages to the segments node's half of the vault, and its answers. */
export class VaultMail {
  readonly #keys: VaultKeys;
  readonly #directory: Directory;
  readonly #signal: AbortSignal;
  readonly #waiting = new Set<Waiting>();

  constructor(keys: VaultKeys, directory: Directory, signal: AbortSignal) {
    this.#keys = keys;
    this.#directory = directory;
    this.#signal = signal;
  }

  /** Resolves the message to which this answer belongs. */
  answered(message: VaultAnswer): void {
    for (const { take } of this.#waiting) take(message);
  }

  /** Handles a restart of a segments node: it cannot open unanswered messages, so they are sent again. */
  restarted(node: string): void {
    for (const { repeat } of this.#waiting) repeat(node);
  }

  /** Resolves when the segments node has stated a key. Await it before taking a lock that the key's mail may need. */
  ready(): Promise<void> {
    return this.#keys.ready(this.#node);
  }

  get #node(): string {
    return chooseNode(this.#directory, 'segments', VAULT).id;
  }

  /** Posts a message to the segments node and wipes the keys in it. */
  async post<Answer>(
    message: VaultMessage,
    match: (answer: VaultAnswer) => Answer | undefined,
  ): Promise<Posted<Answer>> {
    const bytes = encodeMessage(message);
    wipeMessage(message);
    let node = this.#node;
    let repeat: () => void = () => undefined;
    const waiting: Waiting = {
      take: () => undefined,
      repeat: (restarted) => {
        if (restarted === node) repeat();
      },
    };
    const matched = new Promise<Answer>((resolve) => {
      waiting.take = (answer) => {
        const matching = match(answer);
        if (matching !== undefined) resolve(matching);
      };
    });
    const done = () => {
      this.#waiting.delete(waiting);
      bytes.fill(0);
    };
    const leave = async () => {
      node = this.#node;
      await this.#keys.ready(node);
      await this.#keys.send(node, bytes);
    };
    this.#waiting.add(waiting);
    try {
      await leave();
    } catch (error) {
      done();
      throw error;
    }
    const answer = async () => {
      try {
        for (;;) {
          const repeated = new Promise<undefined>((resolve) => {
            repeat = () => resolve(undefined);
          });
          const answer = await within(Promise.race([matched, repeated]), ANSWER_MS, this.#signal);
          if (answer !== undefined) return answer;
          await leave();
        }
      } finally {
        done();
      }
    };
    return { answer, bytes: bytes.length };
  }
}
