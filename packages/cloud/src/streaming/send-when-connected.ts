import { type Bytes, sleep } from '@millrace/base';
import type { DistributionLink } from '../node/distribution-links.ts';

/** Time that the first message of a session waits for the link to the distribution node, ms. */
const LINK_MS = 3_000;

export const NO_LINK = 'no link to the distribution node';

/** Takes work that continues while mail of other machines is handled: the wait for a link must not hold it up. */
export type GoOn = (work: Promise<void>) => Promise<void> | void;

/**
 * Waits for the link, then sends a message. After a restart, the mail that starts a session can arrive before the link
 * is up.
 * @returns whether it was sent
 */
export async function sendWhenConnected(link: DistributionLink, message: Bytes): Promise<boolean> {
  for (let waited = 0; !link.connected && waited < LINK_MS; waited += 50) await sleep(50);
  return link.send(message);
}

/** Which session of an object was begun last: one that waited for its link does not replace a later one. */
export class NewestSession {
  readonly #newest = new Map<string, symbol>();

  /** @returns whether this session is still the newest one; call it once, when the wait has ended */
  enter(object: string): () => boolean {
    const own = Symbol(object);
    this.#newest.set(object, own);
    return () => this.#newest.get(object) === own && this.#newest.delete(object);
  }
}
