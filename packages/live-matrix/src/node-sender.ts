import { nodeHmac } from './frame/node-hmac.ts';
import { makeSender, type Sender, type SenderOptions } from './frame-sender.ts';
import { secretMemory } from './secrets/node.ts';

export type { Sender, SenderOptions };

/** Creates a sender that uses Node's HMAC and memory for secrets. */
export function createSender(options: SenderOptions): Sender {
  return makeSender(options, nodeHmac, secretMemory());
}
