import { type Bytes, type Clock, MillraceError, type RandomSource, toHex, utf8 } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { keyName } from '@millrace/identity';
import { type Attested, type Directory, requireUnrevoked, verifyBy, verifyCredential } from '@millrace/protocol';

/** Longest time that a signed request may ask for, ms. */
export const MAX_UPLOAD_MS = 3_600_000;
const MOST_OF_A_KEY = 16;
const MOST = 10_000;

export interface UploadSession {
  readonly design: string;
  /** Name of the key that signed the request. */
  readonly key: string;
  /** ms since 1970. */
  readonly until: number;
}

/**
 * Browsers that stage segments. A person's signature, which the administrator's key proves, opens a session for one
 * design. Sessions are kept in memory, by the hash of their secret: after a restart, a browser shows its request again.
 */
export class UploadSessions {
  readonly #directory: Directory;
  readonly #clock: Clock;
  readonly #random: RandomSource;
  readonly #origin: () => string;
  readonly #sessions = new Map<string, UploadSession>();

  /** @param origin of this listener, which requests have to name */
  constructor(directory: Directory, clock: Clock, random: RandomSource, origin: () => string) {
    this.#directory = directory;
    this.#clock = clock;
    this.#random = random;
    this.#origin = origin;
  }

  /**
   * @param request `upload.open`, and the credential of its signer
   * @returns the session's secret, 43 characters
   * @throws {MillraceError} E_AUTH (another origin or signer), E_FORBIDDEN (asks for too long), E_SIGNATURE, E_INPUT,
   *   E_EXPIRED, E_CLOCK, E_REVOKED
   */
  async open(request: Attested): Promise<UploadSession & { readonly secret: string }> {
    const directory = this.#directory;
    const now = this.#clock.now();
    const signatory = await verifyCredential(request.credential, directory);
    const { body } = await verifyBy(signatory, request.transaction, directory, now);
    if (body.type !== 'upload.open') throw new MillraceError('E_INPUT', 'not an upload.open');
    if (body.origin !== this.#origin()) throw new MillraceError('E_AUTH', 'the request is for another address');
    if (body.expires - body.issued > MAX_UPLOAD_MS)
      throw new MillraceError('E_FORBIDDEN', `a request counts for at most ${MAX_UPLOAD_MS / 60_000} minutes`);
    const key = keyName(signatory.publicKey);
    requireUnrevoked(directory, key);
    const session = { design: body.design, key, until: Math.min(body.expires, now + MAX_UPLOAD_MS) };
    this.#makeRoom(key);
    const secret = Buffer.from(this.#random(32)).toString('base64url');
    this.#sessions.set(nameOf(secret), session);
    return { ...session, secret };
  }

  /** @throws {MillraceError} E_AUTH (no session of this secret), E_EXPIRED, E_FORBIDDEN (another design), E_REVOKED */
  require(secret: unknown, design: string): UploadSession {
    const session = typeof secret === 'string' ? this.#sessions.get(nameOf(secret)) : undefined;
    if (session === undefined) throw new MillraceError('E_AUTH', 'no signed request has opened this upload');
    if (this.#clock.now() > session.until) throw new MillraceError('E_EXPIRED', 'the signed upload has expired');
    if (session.design !== design) throw new MillraceError('E_FORBIDDEN', 'the signed upload is of another design');
    requireUnrevoked(this.#directory, session.key);
    return session;
  }

  /** Forgets sessions that have ended, and the oldest of a key or in all that has too many. */
  #makeRoom(key: string): void {
    const now = this.#clock.now();
    for (const [name, { until }] of this.#sessions) if (now > until) this.#sessions.delete(name);
    const own = [...this.#sessions].filter(([, session]) => session.key === key);
    if (own.length >= MOST_OF_A_KEY) this.#sessions.delete(own[0]?.[0] ?? '');
    const oldest = this.#sessions.keys().next().value;
    if (this.#sessions.size >= MOST && oldest !== undefined) this.#sessions.delete(oldest);
  }
}

function nameOf(secret: string): string {
  const hash: Bytes = sha256(utf8(secret));
  return toHex(hash);
}
