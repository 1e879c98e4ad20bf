import { type Bytes, type Clock, MillraceError, type RandomSource, toHex, utf8 } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import type { SignInRole } from '@millrace/protocol';

/** A session ends after this time without a request, and after this time in any case, ms. */
export const IDLE_MS = 30 * 60_000;
export const WHOLE_MS = 12 * 3_600_000;
const MOST_OF_ONE = 20;

/** Who opened a session: a key, or a person at the company's provider, who has none. */
export type SessionHolder =
  | { readonly kind: 'key'; readonly name: string }
  | {
      readonly kind: 'company';
      /** The person. */
      readonly name: string;
      readonly email: string;
      readonly organisation: string;
      readonly roles: readonly SignInRole[];
      /** Id of the organisation's sign-in. The session ends with it. */
      readonly signIn: string;
      /** When the membership has to be renewed by another sign-in. */
      readonly until: number;
    };

interface Session {
  readonly holder: SessionHolder;
  readonly until: number;
  used: number;
}

/**
 * Sessions of browsers, by the hash of their secret. They are kept in memory: a restart of control ends them, and no
 * backup can bring one back.
 */
export class Sessions {
  readonly #clock: Clock;
  readonly #random: RandomSource;
  readonly #sessions = new Map<string, Session>();

  constructor(clock: Clock, random: RandomSource) {
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * Opens a session. Its secret is always new, so nobody can choose it for somebody else.
   * @returns the secret, 43 characters
   * @throws {MillraceError} E_QUOTA if the holder has too many
   */
  open(holder: SessionHolder): { readonly secret: string; readonly until: number } {
    this.#forgetEnded();
    const own = [...this.#sessions.values()].filter((session) => session.holder.name === holder.name);
    if (own.length >= MOST_OF_ONE)
      throw new MillraceError('E_QUOTA', `a key or person has at most ${MOST_OF_ONE} sessions: sign out elsewhere`);
    const now = this.#clock.now();
    const secret = Buffer.from(this.#random(32)).toString('base64url');
    const until = Math.min(now + WHOLE_MS, holder.kind === 'company' ? holder.until : Number.MAX_SAFE_INTEGER);
    this.#sessions.set(nameOf(secret), { holder, until, used: now });
    return { secret, until };
  }

  /** The session of a secret; undefined if there is none or it has ended. */
  use(secret: string): Pick<Session, 'holder' | 'until'> | undefined {
    const session = this.#sessions.get(nameOf(secret));
    const now = this.#clock.now();
    if (session === undefined || hasEnded(session, now)) return undefined;
    session.used = now;
    return session;
  }

  /** The same without counting as a use: an open stream keeps no session from ending. */
  find(secret: string): Pick<Session, 'holder' | 'until'> | undefined {
    const session = this.#sessions.get(nameOf(secret));
    return session === undefined || hasEnded(session, this.#clock.now()) ? undefined : session;
  }

  close(secret: string): void {
    this.#sessions.delete(nameOf(secret));
  }

  #forgetEnded(): void {
    const now = this.#clock.now();
    for (const [name, session] of this.#sessions) if (hasEnded(session, now)) this.#sessions.delete(name);
  }
}

const hasEnded = ({ used, until }: Session, now: number) => now > until || now > used + IDLE_MS;

function nameOf(secret: string): string {
  const hash: Bytes = sha256(utf8(secret));
  return toHex(hash);
}
