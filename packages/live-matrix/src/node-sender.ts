import { nodeHmac } from './frame/node-hmac.ts';
import { makeSender, type Sender, type SenderOptions } from './frame-sender.ts';
import { secretMemory } from './secrets/node.ts';

export type { Sender, SenderOptions };

/** A sender, in Node. */
export function createSender(options: SenderOptions): Sender {
  return makeSender(options, nodeHmac, secretMemory());
}
