import { type Bytes, wipe } from '@millrace/base/core';
import { MIX_INTERVAL } from '../parameters.ts';
import { type FreshPoint, freshPoint } from './agreement.ts';
import { mixSecret } from './keys.ts';

/** Number of revisions in advance that the receiver requests a mix. */
const AHEAD = 32n;

/** One end's fresh Diffie-Hellman secrets: at most one is open at a time, as they are 64 revisions apart. */
export class Mixes {
  readonly #sessionId: Uint8Array;
  #asked: { readonly revision: bigint; readonly own: FreshPoint } | undefined;
  #secret: { readonly revision: bigint; readonly bytes: Bytes } | undefined;

  constructor(sessionId: Uint8Array) {
    this.#sessionId = sessionId;
  }

  /** Receiver: the revision to ask for now, if it is time. */
  due(ready: bigint): bigint | undefined {
    const revision = (ready / MIX_INTERVAL + 1n) * MIX_INTERVAL;
    const known = this.#asked?.revision ?? this.#secret?.revision ?? 0n;
    return revision - ready > AHEAD || known >= revision ? undefined : revision;
  }

  /** Receiver: our point for `revision`. */
  async ask(revision: bigint): Promise<Uint8Array> {
    const own = await freshPoint();
    this.#asked = { revision, own };
    return own.point;
  }

  /** Receiver: the sender's half. False when it was not asked for. @throws {MillraceError} E_FRAME_FORMAT */
  async answered(revision: bigint, point: Uint8Array): Promise<boolean> {
    const asked = this.#asked;
    if (asked?.revision !== revision) return false;
    this.#keep(revision, await asked.own.agree(point));
    this.#asked = undefined;
    return true;
  }

  /** Sender: our half of the answer. @throws {MillraceError} E_FRAME_FORMAT */
  async answer(revision: bigint, point: Uint8Array): Promise<Uint8Array> {
    const own = await freshPoint();
    this.#keep(revision, await own.agree(point));
    return own.point;
  }

  /** True when `revision` needs no fresh secret, or its secret is here. */
  has(revision: bigint): boolean {
    return revision % MIX_INTERVAL !== 0n || this.#secret?.revision === revision;
  }

  /** Mixes into the ratchet what `revision` needs, and wipes it. */
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
