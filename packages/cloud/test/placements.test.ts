import { systemRandom } from '@millrace/base';
import type { Message, Recipient } from '@millrace/protocol';
import { type CellStore, decodeMessage, type StoreMessage } from '@millrace/vault';
import { expect, it } from 'vitest';
import { Placements } from '../src/segments/placements.ts';

it('places for which no request waits are declined, and their keys wiped', async () => {
  const sent: { to: Recipient; message: Message }[] = [];
  const placements = new Placements({} as CellStore, {
    send: async (to, message) => void sent.push({ to, message }),
    start: () => undefined,
    close: async () => undefined,
  });
  const key = systemRandom(32);
  const design = systemRandom(16);
  const told = { type: 'store', design, from: 64, cells: [{ index: systemRandom(20), key, epoch: 3 }], seeds: [] };
  await placements.answered(told as unknown as StoreMessage);
  expect(key).toEqual(new Uint8Array(32));
  const [{ to, message } = { to: undefined, message: undefined }] = sent;
  expect(to).toMatchObject({ role: 'keys' });
  if (message?.type !== 'vault') throw new Error(`no message of the vault: ${message?.type}`);
  expect(decodeMessage(message.message)).toMatchObject({ type: 'refused', design, from: 64, code: 'E_STATE' });
});
