import { within } from '@millrace/base';
import {
  type CheckedMessage,
  encodeMessage,
  type MaintainedMessage,
  type StoredMessage,
  type VaultMessage,
  wipeMessage,
} from '@millrace/vault';
import type { MailClient } from '../node/mail-client.ts';

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

/** Messages to the segments node's half of the vault, and its answers. */
export class VaultMail {
  readonly #mail: MailClient;
  readonly #signal: AbortSignal;
  readonly #waiting = new Set<(message: VaultAnswer) => void>();

  constructor(mail: MailClient, signal: AbortSignal) {
    this.#mail = mail;
    this.#signal = signal;
  }

  /** Resolves the message to which this answer belongs. */
  answered(message: VaultAnswer): void {
    for (const take of this.#waiting) take(message);
  }

  /** Posts a message to the segments node and wipes the keys in it. */
  async post<Answer>(
    message: VaultMessage,
    match: (answer: VaultAnswer) => Answer | undefined,
  ): Promise<Posted<Answer>> {
    const bytes = encodeMessage(message);
    wipeMessage(message);
    let take: (answer: VaultAnswer) => void = () => undefined;
    const matched = new Promise<Answer>((resolve) => {
      take = (answer) => {
        const matching = match(answer);
        if (matching !== undefined) resolve(matching);
      };
    });
    const done = () => {
      this.#waiting.delete(take);
      bytes.fill(0);
    };
    const leave = () => this.#mail.send({ role: 'segments', partition: VAULT }, { type: 'vault', message: bytes });
    this.#waiting.add(take);
    try {
      await leave();
    } catch (error) {
      done();
      throw error;
    }
    const answer = async () => {
      try {
        for (;;) {
          const answered = await within(matched, ANSWER_MS, this.#signal);
          if (answered !== undefined) return answered;
          await leave();
        }
      } finally {
        done();
      }
    };
    return { answer, bytes: bytes.length };
  }
}
