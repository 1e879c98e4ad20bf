import { MillraceError, toHex, wipe } from '@millrace/base';
import { decodeMessage, encodeMessage, wipeMessage } from '@millrace/vault';
import type { KeysContext } from './context.ts';

/** Handles a message from a segments node's part of the vault. @param from the sender, which gets the answer */
export async function handleVaultMessage(
  { playbook, maintenance, checks, refusals, outbound, order, logger }: KeysContext,
  bytes: Uint8Array,
  from: string,
): Promise<void> {
  const message = decodeMessage(bytes);
  switch (message.type) {
    case 'want':
      return order.read(async () => {
        const refusal = await refusals.get(toHex(message.design));
        if (refusal !== undefined) {
          const refused = encodeMessage({ type: 'refused', design: message.design, from: message.from, ...refusal });
          return outbound.mail.send({ node: from }, { type: 'vault', message: refused });
        }
        const instructions = await playbook.instruct(message);
        if (instructions === undefined) throw new MillraceError('E_UNAVAILABLE', 'a check of the vault is in progress');
        const answer = encodeMessage(instructions);
        wipeMessage(instructions);
        await outbound.mail.send({ node: from }, { type: 'vault', message: answer });
        wipe(answer);
      });
    case 'stored': {
      const outcome = await playbook.stored(message);
      if (outcome?.complete && !outcome.decoys) logger.info({ design: outcome.design }, 'design stored');
      return maintenance.answered(message);
    }
    case 'maintained':
      if (message.missing.length + message.damaged.length > 0) checks.soon();
      return maintenance.answered(message);
    case 'checked':
      return maintenance.answered(message);
    case 'refused':
      return logger.warn({ code: message.code, reason: message.reason }, 'design refused by the segments node');
    default:
      throw new MillraceError('E_INPUT', `the keys node takes no ${message.type}`);
  }
}
