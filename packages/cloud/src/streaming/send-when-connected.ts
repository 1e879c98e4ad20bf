import { type Bytes, sleep } from '@millrace/base';
import type { DistributionLink } from '../node/distribution-links.ts';

/** Time that the first message of a session waits for the link to the distribution node, ms. */
const LINK_MS = 3_000;

export const NO_LINK = 'no link to the distribution node';

/**
 * Waits for the link, then sends a message. After a restart, the mail that starts a session can arrive before the link
 * is up.
 * @returns whether it was sent
 */
export async function sendWhenConnected(link: DistributionLink, message: Bytes): Promise<boolean> {
  for (let waited = 0; !link.connected && waited < LINK_MS; waited += 50) await sleep(50);
  return link.send(message);
}
