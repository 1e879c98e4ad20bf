import { type Bytes, wipe } from '@millrace/base/core';
import { MIX_INTERVAL } from '../parameters.ts';
import { type FreshPoint, freshPoint } from './agreement.ts';
import { mixSecret } from './keys.ts';

/** How many revisions in advance the receiver requests a mix. */
const AHEAD = 32n;

/** One end's fresh Diffie-Hellman secrets. At most one is open at a time, because they are 64 revisions apart. */
export class Mixes {
  readonly #sessionId: Uint8Array;
  #asked: { readonly revision: bigint; readonly own: FreshPoint } | undefined;
  #secret: { readonly revision: bigint; readonly bytes: Bytes } | undefined;

  constructor(sessionId: Uint8Array) {
    this.#sessionId = sessionId;
  }

  /** Receiver: the revision for which to request a mix now, if any. */
  due(ready: bigint): bigint | undefined {
    const revision = (ready / MIX_INTERVAL + 1n) * MIX_INTERVAL;
    const known = this.#asked?.revision ?? this.#secret?.revision ?? 0n;
    return revision - ready > AHEAD || known >= revision ? undefined : revision;
  }

  /** Receiver: this end's point for `revision`. */
  async ask(revision: bigint): Promise<Uint8Array> {
    const own = await freshPoint();
    this.#asked = { revision, own };
    return own.point;
  }

  /**
   * Receiver: handles the sender's point. Returns false if it was not requested.
   * @throws {MillraceError} E_FRAME_FORMAT
   */
  async answered(revision: bigint, point: Uint8Array): Promise<boolean> {
    const asked = this.#asked;
    if (asked?.revision !== revision) return false;
    this.#keep(revision, await asked.own.agree(point));
    this.#asked = undefined;
    return true;
  }

  /** Sender: this end's point, in answer. @throws {MillraceError} E_FRAME_FORMAT */
  async answer(revision: bigint, point: Uint8Array): Promise<Uint8Array> {
    const own = await freshPoint();
    this.#keep(revision, await own.agree(point));
    return own.point;
  }

  /** Whether `revision` can begin: it needs no fresh secret, or its secret has arrived. */
  has(revision: bigint): boolean {
    return revision % MIX_INTERVAL !== 0n || this.#secret?.revision === revision;
  }

  /** Mixes the secret that `revision` needs into the ratchet, and wipes it. */
  apply(revision: bigint, ratchet: { mix(secret: Uint8Array): void }): void {
    if (revision % MIX_INTERVAL !== 0n || this.#secret === undefined) return;
    ratchet.mix(this.#secret.bytes);
    wipe(this.#secret.bytes);
  }

  close(): void {
    wipe(this.#secret?.bytes);
    this.#asked = undefined;
  }

  #keep(revision: bigint, shared: Bytes): void {
    wipe(this.#secret?.bytes);
    this.#secret = { revision, bytes: mixSecret(this.#sessionId, revision, shared) };
  }
}
