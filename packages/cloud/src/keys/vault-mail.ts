import { type Clock, MillraceError, within } from '@millrace/base';
import {
  type CheckedMessage,
  encodeMessage,
  type MaintainedMessage,
  type StoredMessage,
  type VaultMessage,
  wipeMessage,
} from '@millrace/vault';
import type { SegmentsMembers } from './segments-members.ts';
import type { VaultKeys } from './vault-keys.ts';

/** Time after which a message without an answer is sent again, ms. */
const ANSWER_MS = 30_000;
/** How often it is looked whether the recipient is silent, ms. */
const LOOK_MS = 500;
/** Partition of messages that concern cells of many designs. */
const VAULT = 'vault';

export type VaultAnswer = MaintainedMessage | StoredMessage | CheckedMessage;

export interface Posted<Answer> {
  /**
   * Resends the message until its answer arrives. Call it once.
   * @returns undefined if the message was posted to one node and this node is silent
   */
  readonly answer: () => Promise<Answer | undefined>;
  readonly bytes: number;
}

interface Waiting {
  take(answer: VaultAnswer, from: string): void;
  /** Sends the message again. */
  repeat(node: string): void;
}

export interface VaultMailModules {
  readonly keys: VaultKeys;
  readonly members: SegmentsMembers;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Messages to the segments nodes' half of the vault, and their answers. */
export class VaultMail {
  readonly #modules: VaultMailModules;
  readonly #waiting = new Set<Waiting>();

  constructor(modules: VaultMailModules) {
    this.#modules = modules;
  }

  /** Resolves the message to which this answer belongs, if it was sent to this node. */
  answered(message: VaultAnswer, from: string): void {
    for (const { take } of this.#waiting) take(message, from);
  }

  /** Handles a restart of a segments node: it cannot open unanswered messages, so they are sent again. */
  restarted(node: string): void {
    for (const { repeat } of this.#waiting) repeat(node);
  }

  /** Resolves when a segments node can be asked. @returns its id */
  ready(): Promise<string> {
    const { members, keys } = this.#modules;
    return keys.ready(() => members.chosen(VAULT));
  }

  /** Posts a message to a segments node that answers, to another one if it falls silent, until it is answered. */
  async ask<Answer>(message: VaultMessage, match: (answer: VaultAnswer) => Answer | undefined): Promise<Answer> {
    const { members } = this.#modules;
    await this.ready();
    const posted = await this.#post(message, match, () => members.chosen(VAULT));
    const answer = await posted.answer();
    if (answer === undefined)
      throw new MillraceError('E_INTERNAL', 'a message that every node may answer was given up');
    return answer;
  }

  /** Posts a message to a node that has stated a key, and wipes the keys in the message. */
  post<Answer>(
    message: VaultMessage,
    match: (answer: VaultAnswer) => Answer | undefined,
    node: string,
  ): Promise<Posted<Answer>> {
    return this.#post(message, match, () => node, true);
  }

  async #post<Answer>(
    message: VaultMessage,
    match: (answer: VaultAnswer) => Answer | undefined,
    chosen: () => string,
    givesUp = false,
  ): Promise<Posted<Answer>> {
    const { keys, members, clock, signal } = this.#modules;
    const bytes = encodeMessage(message);
    wipeMessage(message);
    let [node, sent] = [chosen(), clock.monotonic()];
    const asked = new Set<string>();
    let repeat: () => void = () => undefined;
    const waiting: Waiting = {
      take: () => undefined,
      repeat: (restarted) => {
        if (restarted === node) repeat();
      },
    };
    const matched = new Promise<Answer>((resolve) => {
      waiting.take = (answer, from) => {
        const matching = asked.has(from) ? match(answer) : undefined;
        if (matching !== undefined) resolve(matching);
      };
    });
    const done = () => {
      this.#waiting.delete(waiting);
      bytes.fill(0);
    };
    const leave = async () => {
      node = chosen();
      asked.add(node);
      await keys.send(node, bytes);
      sent = clock.monotonic(); // the node is not silent because the mailbox was
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
          let again = false;
          const repeated = new Promise<undefined>((resolve) => {
            repeat = () => {
              again = true;
              resolve(undefined);
            };
          });
          const answer = await within(Promise.race([matched, repeated]), LOOK_MS, signal);
          if (answer !== undefined) return answer;
          const silent = members.isSilent(node, sent);
          if (silent && givesUp) return undefined;
          if (again || silent || clock.monotonic() - sent >= ANSWER_MS) await leave();
        }
      } finally {
        done();
      }
    };
    return { answer, bytes: bytes.length };
  }
}
