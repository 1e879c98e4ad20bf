import { type Bytes, copyBytes, MillraceError } from '@millrace/base';
import type { SessionOffer } from '@millrace/protocol';
import type { StreamMessage } from './cloud-link.ts';
import { Releases } from './packages/releases.ts';

/** Messages for one session, in order of arrival. */
export type SessionEvent =
  | { readonly type: 'frame' | 'key'; readonly payload: Bytes }
  | { readonly type: 'hashes'; readonly group: number; readonly hashes: Bytes; readonly path: readonly Bytes[] }
  | { readonly type: 'mix'; readonly revision: bigint; readonly sealed: Uint8Array }
  | { readonly type: 'end'; readonly code: string; readonly reason: string }
  | { readonly type: 'lost'; readonly who: string };

/** More than any window of keys. Frames cannot arrive before the machine has reported a table. */
const MAX_EARLY_EVENTS = 4_096;

/** A session offered by the keys node. Events that arrive before a handler is set are kept. */
export class Incoming {
  readonly permitId: string;
  readonly offer: SessionOffer;
  readonly #early: SessionEvent[] = [];
  #handler: ((event: SessionEvent) => void) | undefined;

  constructor(permitId: string, offer: SessionOffer) {
    this.permitId = permitId;
    this.offer = offer;
  }

  deliver(event: SessionEvent): void {
    if (this.#handler !== undefined) return this.#handler(event);
    if (this.#early.length === MAX_EARLY_EVENTS) return;
    this.#early.push(
      this.#early.length === MAX_EARLY_EVENTS - 1 ? { type: 'lost', who: 'the order of things' } : event,
    );
  }

  attend(handler: (event: SessionEvent) => void): void {
    for (const event of this.#early.splice(0)) handler(event);
    this.#handler = handler;
  }
}

interface Expecting {
  readonly permitId: string;
  resolve(incoming: Incoming): void;
  reject(error: unknown): void;
}

/**
 * The machine's link carries one stream at a time: every message belongs to the most recently offered session. An offer
 * may arrive before its permit, so it is kept until the session is taken.
 */
export class Inbox {
  /** Shares of job packages that the nodes have released. */
  readonly releases: Releases;
  readonly #machine: string;
  #latest: Incoming | undefined;
  #expecting: Expecting | undefined;

  /** @param machine key name of this machine */
  constructor(machine: string) {
    this.#machine = machine;
    this.releases = new Releases(machine);
  }

  deliver(message: StreamMessage): void {
    switch (message.type) {
      case 'release':
        return this.releases.deliver(message);
      case 'offer':
        if (message.machine !== this.#machine) return; // for another machine: the session would not open
        this.#latest?.deliver({ type: 'lost', who: 'keys' });
        this.#latest = new Incoming(message.permitId, message.offer);
        return this.#match();
      case 'frame':
      case 'key':
        return this.#latest?.deliver(message);
      case 'mix':
        if (!this.#isLatest(message.session)) return;
        return this.#latest?.deliver({ type: 'mix', revision: BigInt(message.revision), sealed: message.sealed });
      case 'hashes': {
        if (!this.#isLatest(message.session)) return;
        const { group, hashes, path } = message;
        const own = { hashes: copyBytes(hashes), path: path.map((hash) => copyBytes(hash)) };
        return this.#latest?.deliver({ type: 'hashes', group, ...own });
      }
      case 'end':
        if (!this.#isLatest(message.session)) return;
        return this.#latest?.deliver({ type: 'end', code: message.code, reason: message.reason });
      case 'lost':
        if (!this.#isLatest(message.session)) return;
        return this.#latest?.deliver({ type: 'lost', who: message.who });
    }
  }

  /** Ends every session, because the connection is lost. */
  linkLost(): void {
    this.#latest?.deliver({ type: 'lost', who: 'link' });
    this.#latest = undefined;
    this.#expecting?.reject(new MillraceError('E_UNAVAILABLE', 'the connection was lost before the stream began'));
  }

  /** The session offered for a permit. @throws {MillraceError} E_TIMEOUT, E_UNAVAILABLE */
  take(permitId: string, timeoutMs: number, signal: AbortSignal): Promise<Incoming> {
    return new Promise<Incoming>((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const onAbort = () => expecting.reject(signal.reason);
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        if (this.#expecting === expecting) this.#expecting = undefined;
      };
      const expecting: Expecting = {
        permitId,
        resolve: (incoming) => {
          done();
          resolve(incoming);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      };
      const timer = setTimeout(
        () => expecting.reject(new MillraceError('E_TIMEOUT', 'no stream was offered for the permit in time')),
        timeoutMs,
      );
      signal.addEventListener('abort', onAbort, { once: true });
      this.#expecting = expecting;
      this.#match();
    });
  }

  #match(): void {
    if (this.#latest !== undefined && this.#latest.permitId === this.#expecting?.permitId)
      this.#expecting.resolve(this.#latest);
  }

  #isLatest(session: Uint8Array): boolean {
    return this.#latest !== undefined && Buffer.compare(this.#latest.offer.session, session) === 0;
  }
}
