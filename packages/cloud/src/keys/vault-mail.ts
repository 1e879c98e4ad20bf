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

/** No answer for so long: the message is sent again. */
const ANSWER_MS = 30_000;

/** What concerns cells of many designs: one segments node holds them all. */
const VAULT = 'vault';

export type VaultAnswer = MaintainedMessage | StoredMessage | CheckedMessage;

export interface Posted<Answer> {
  /** To be called once: it leaves the message again until the answer has come. */
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

  /** Hands an answer to whoever waits for it. */
  answered(message: VaultAnswer): void {
    for (const take of this.#waiting) take(message);
  }

  /** Leaves a message for the segments node, and wipes the keys in it. */
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
