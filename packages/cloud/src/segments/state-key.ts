import type { Bytes } from '@millrace/base';
import type { MailClient } from '../node/mail-client.ts';
import type { VaultKeyRing } from './vault-key-ring.ts';

type Mail = Pick<MailClient, 'send'>;

/**
 * States a new key for messages of the vault to a keys node. Keys are stated in the order in which they are made: the
 * keys node seals to the last one that arrives.
 * @param started whether the keys node has to send again what is unanswered: this node cannot open it
 */
export function stateKey(ring: VaultKeyRing, mail: Mail, keysNode: string, started: boolean): Promise<void> {
  return ring.stating.run(() => send(mail, keysNode, ring.renew(), started));
}

/** States the newest key once more, after a message that was sealed to a key that this node does not hold. */
export function stateKeyAgain(ring: VaultKeyRing, mail: Mail, keysNode: string): Promise<void> {
  return ring.stating.run(() => send(mail, keysNode, ring.newest ?? ring.renew(), true));
}

function send(mail: Mail, keysNode: string, point: Bytes, started: boolean): Promise<void> {
  return mail.send({ node: keysNode }, { type: 'vault.key', point, started });
}
