import { MillraceError, sleep, toHex, wipe } from '@millrace/base';
import { decodeMessage, encodeMessage, type WantMessage, wipeMessage } from '@millrace/vault';
import type { Handler } from '../node/mail-client.ts';
import type { KeysContext } from './context.ts';

const AGAIN_MS = 50;

/** Handles a message from a segments node's part of the vault. @param from the sender, which gets the answer */
export async function handleVaultMessage(
  context: KeysContext,
  bytes: Uint8Array,
  from: string,
  goOn: Parameters<Handler>[2],
): Promise<void> {
  const { playbook, maintenance, members, checks, storing, vaultKeys, logger } = context;
  const message = decodeMessage(bytes);
  switch (message.type) {
    case 'want':
      // What this waits for (a key, the end of a check, a report) comes by mail, which must not wait for this message.
      if (members.shared || !vaultKeys.has(from) || !(await answerWant(context, message, from)))
        goOn(answerLater(context, message, from));
      return;
    case 'stored': {
      const outcome = await playbook.stored(message, { shared: members.shared, node: from });
      storing.reported(from, message);
      maintenance.answered(message, from);
      if (outcome === undefined || outcome.decoys) return;
      if (outcome.complete) logger.info({ design: outcome.design }, 'design stored');
      const { design, generation, from: segment, count } = message;
      const recorded = encodeMessage({ type: 'recorded', design, generation, from: segment, count });
      return goOn(vaultKeys.ready(() => from).then(() => vaultKeys.send(from, recorded)));
    }
    case 'maintained':
      if (message.missing.length + message.damaged.length > 0) checks.soon();
      return maintenance.answered(message, from);
    case 'checked':
      return maintenance.answered(message, from);
    case 'refused':
      storing.reported(from, message);
      return logger.warn(
        { design: toHex(message.design), segment: message.from, code: message.code, reason: message.reason },
        'the segments node does not store what it was told to',
      );
    default:
      throw new MillraceError('E_INPUT', `the keys node takes no ${message.type}`);
  }
}

async function answerLater(context: KeysContext, message: WantMessage, from: string): Promise<void> {
  const { members, storing, vaultKeys } = context;
  await vaultKeys.ready(() => from);
  const answer = () => answerWant(context, message, from);
  while (!(await (members.shared ? storing.told(from, message, answer) : answer())))
    await sleep(AGAIN_MS, vaultKeys.closing);
}

/** @returns false while a check compares all places */
function answerWant(
  { playbook, refusals, vaultKeys, order }: KeysContext,
  message: WantMessage,
  from: string,
): Promise<boolean> {
  return order.read(async () => {
    const refusal = await refusals.get(toHex(message.design));
    if (refusal !== undefined) {
      const { design, from: segment } = message;
      await vaultKeys.send(from, encodeMessage({ type: 'refused', design, from: segment, ...refusal }));
      return true;
    }
    const instructions = await playbook.instruct(message, from);
    if (instructions === undefined) return false;
    const answer = encodeMessage(instructions);
    wipeMessage(instructions);
    try {
      await vaultKeys.send(from, answer);
      return true;
    } finally {
      wipe(answer);
    }
  });
}
