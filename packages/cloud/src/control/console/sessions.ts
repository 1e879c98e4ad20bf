import { timingSafeEqual } from 'node:crypto';
import {
  type Bytes,
  bytesOf,
  type Clock,
  encodeCbor,
  hkdf,
  KeyedMutex,
  MillraceError,
  type RandomSource,
  toHex,
  utf8,
  wipe,
} from '@millrace/base';
import { hmacSha256, sha256 } from '@millrace/base/crypto';
import type { P256Key } from '@millrace/identity';
import { signInRoles } from '@millrace/protocol';
import type { RecordStore } from '@millrace/stores';
import { z } from 'zod';
import { Table } from '../../node/table.ts';

/** A session ends after this time without a request, and after this time in any case, ms. */
export const IDLE_MS = 30 * 60_000;
export const WHOLE_MS = 12 * 3_600_000;
/** A use is written only if the last one that was written is older, ms. */
const USE_MS = 60_000;
const MOST_OF_ONE = 20;

/** Who opened a session: a key, or a person at the company's provider, who has none. */
const holderSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('key'), name: z.string() }),
  z.strictObject({
    kind: z.literal('company'),
    /** The person. */
    name: z.string(),
    email: z.string(),
    organisation: z.string(),
    roles: z.array(z.enum(signInRoles)).readonly(),
    /** Id of the organisation's sign-in. The session ends with it. */
    signIn: z.string(),
    /** When the membership has to be renewed by another sign-in. */
    until: z.number(),
  }),
]);
export type SessionHolder = z.output<typeof holderSchema>;

const sessionSchema = z.strictObject({
  holder: holderSchema,
  until: z.number(),
  used: z.number(),
  /** Under a key of the control nodes: who writes to the cluster cannot make a session. Earlier versions had none. */
  mac: bytesOf(32).optional(),
});
type Session = z.output<typeof sessionSchema>;

/** The key of the records of sessions, 32 bytes, which all control nodes can derive. */
export function sessionKey(permitKey: Pick<P256Key, 'exportSecret'>): Bytes {
  const secret = permitKey.exportSecret();
  try {
    return hkdf([secret], new Uint8Array(), utf8('millrace/v1/console-sessions'));
  } finally {
    wipe(secret);
  }
}

/**
 * Sessions of browsers, by the hash of their secret. No backup has them. They are in memory, so that a restart of
 * control ends them, or in the cluster, so that the next active control node knows them.
 */
export class Sessions {
  readonly #clock: Clock;
  readonly #random: RandomSource;
  readonly #sessions: Table<Session>;
  readonly #opening = new KeyedMutex();
  readonly #key: Uint8Array;

  /** @param modules.key `sessionKey`; not retained by the caller */
  constructor(store: RecordStore, { clock, random, key }: { clock: Clock; random: RandomSource; key: Uint8Array }) {
    this.#clock = clock;
    this.#random = random;
    this.#key = key;
    this.#sessions = new Table(store, 'session', sessionSchema, {
      indexes: { holder: ({ holder, until }) => [{ group: holder.name, order: until }] },
    });
  }

  /**
   * Opens a session. Its secret is always new, so nobody can choose it for somebody else.
   * @returns the secret, 43 characters
   * @throws {MillraceError} E_QUOTA if the holder has too many
   */
  open(holder: SessionHolder): Promise<{ readonly secret: string; readonly until: number }> {
    return this.#opening.run(holder.name, () => this.#open(holder));
  }

  async #open(holder: SessionHolder) {
    const now = this.#clock.now();
    let own = 0;
    for await (const [id, session] of this.#sessions.list({ index: 'holder', group: holder.name }))
      if (hasEnded(session, now)) await this.#sessions.remove(id);
      else own++;
    if (own >= MOST_OF_ONE)
      throw new MillraceError('E_QUOTA', `a key or person has at most ${MOST_OF_ONE} sessions: sign out elsewhere`);
    const secret = Buffer.from(this.#random(32)).toString('base64url');
    const until = Math.min(now + WHOLE_MS, holder.kind === 'company' ? holder.until : Number.MAX_SAFE_INTEGER);
    const id = nameOf(secret);
    await this.#sessions.create(id, this.#signed(id, { holder, until, used: now }));
    return { secret, until };
  }

  /** The session of a secret; undefined if there is none or it has ended. */
  async use(secret: string): Promise<Pick<Session, 'holder' | 'until'> | undefined> {
    const session = await this.find(secret);
    const now = this.#clock.now();
    const id = nameOf(secret);
    if (session !== undefined && now >= session.used + USE_MS)
      // The session may have been closed meanwhile.
      await this.#sessions
        .update(id, (current) => (this.#isOwn(id, current) ? this.#signed(id, { ...current, used: now }) : current))
        .catch((error: unknown) => {
          if (!(error instanceof MillraceError && error.code === 'E_NOT_FOUND')) throw error;
        });
    return session;
  }

  /** The same without counting as a use: an open stream keeps no session from ending. */
  async find(secret: string): Promise<Session | undefined> {
    const id = nameOf(secret);
    const session = await this.#sessions.get(id);
    if (session === undefined || !this.#isOwn(id, session) || hasEnded(session, this.#clock.now())) return undefined;
    return session;
  }

  close(secret: string): Promise<void> {
    return this.#sessions.remove(nameOf(secret));
  }

  /** Removes the sessions that have ended. */
  async forget(): Promise<void> {
    const now = this.#clock.now();
    for await (const [id, session] of this.#sessions.list())
      if (hasEnded(session, now)) await this.#sessions.remove(id);
  }

  #signed(id: string, { holder, until, used }: Session): Session {
    return { holder, until, used, mac: this.#macOf(id, { holder, until, used }) };
  }

  #isOwn(id: string, session: Session): boolean {
    return session.mac !== undefined && timingSafeEqual(session.mac, this.#macOf(id, session));
  }

  #macOf(id: string, { holder, until, used }: Session): Bytes {
    const mac = hmacSha256(this.#key);
    mac.update(encodeCbor({ id, holder, until, used } as never));
    return mac.digest();
  }
}

const hasEnded = ({ used, until }: Session, now: number) => now > until || now > used + IDLE_MS;

const nameOf = (secret: string): string => toHex(sha256(utf8(secret)));
