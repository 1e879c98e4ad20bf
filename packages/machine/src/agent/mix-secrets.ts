import { type Bytes, concatBytes, copyBytes, MillraceError, u64be, utf8, wipe } from '@millrace/base';
import { generateP256Key, type HpkeRecipient, type P256Key } from '@millrace/identity';
import { type FollowerMixes, MIX_INTERVAL } from '@millrace/live-matrix';
import { mixSecret } from '@millrace/protocol';

/**
 * Revisions before a mix at which its point is sent. Control must pass the secret to the segments node in that time.
 */
const LEAD = 32n;

/**
 * Fresh Diffie-Hellman secrets, one before each revision that is a multiple of 64 (spec/protocol.md, 6.9). Both
 * ratchets of the session, the forward receiver and the reverse sender, take each secret once.
 */
export class MixSecrets {
  readonly #session: Bytes;
  #asked: { readonly revision: bigint; readonly key: P256Key } | undefined;
  #secret: { readonly revision: bigint; readonly bytes: Bytes; readonly taken: Set<string> } | undefined;

  constructor(session: Uint8Array) {
    this.#session = copyBytes(session);
  }

  /** The point to send now; undefined if the next mix is too far away or its point was sent. */
  pointDue(ready: bigint): Bytes | undefined {
    const revision = (ready / MIX_INTERVAL + 1n) * MIX_INTERVAL;
    if (revision - ready > LEAD || (this.#asked?.revision ?? 0n) >= revision) return undefined;
    if ((this.#secret?.revision ?? 0n) >= revision) return undefined;
    this.#asked?.key.close();
    this.#asked = { revision, key: generateP256Key() };
    return this.#asked.key.publicKey;
  }

  /**
   * Handles the keys node's answer. It opens in order with the window's keys: call this in order of arrival.
   * @throws {MillraceError} E_SEAL
   */
  async answer(context: HpkeRecipient, revision: bigint, sealed: Uint8Array): Promise<void> {
    const asked = this.#asked;
    if (asked?.revision !== revision)
      throw new MillraceError('E_SEAL', 'the answer is for a mix that was not asked for');
    const point = await context.open(sealed, concatBytes(utf8('mix'), u64be(revision)));
    const shared = await asked.key.agree(point);
    wipe(this.#secret?.bytes);
    this.#secret = { revision, bytes: mixSecret(this.#session, revision, shared), taken: new Set() };
    wipe(shared);
    asked.key.close();
    this.#asked = undefined;
  }

  /** Whether `revision` can begin: it needs no fresh secret, or its secret has arrived. */
  has(revision: bigint): boolean {
    return revision % MIX_INTERVAL !== 0n || this.#secret?.revision === revision;
  }

  /** Mixes the secret of `revision` into one of the two ratchets. The secret is wiped once both have taken it. */
  apply(who: 'forward' | 'reverse', revision: bigint, ratchet: { mix(secret: Uint8Array): void }): void {
    const secret = this.#secret;
    if (revision % MIX_INTERVAL !== 0n || secret?.revision !== revision) return;
    ratchet.mix(secret.bytes);
    secret.taken.add(who);
    if (secret.taken.size === 2) wipe(secret.bytes);
  }

  /** The secrets, for use by one of the two ratchets. */
  of(who: 'forward' | 'reverse'): FollowerMixes {
    return {
      has: (revision) => this.has(revision),
      apply: (revision, ratchet) => this.apply(who, revision, ratchet),
    };
  }

  close(): void {
    this.#asked?.key.close();
    wipe(this.#secret?.bytes);
  }
}
