import type { Clock } from '@millrace/base';
import { twoSegmentsNodes } from '@millrace/testkit/protocol/support';
import type { RefusedMessage } from '@millrace/vault';
import { expect, it } from 'vitest';
import { SegmentsMembers } from '../src/keys/segments-members.ts';
import type { VaultKeys } from '../src/keys/vault-keys.ts';
import { VaultMail } from '../src/keys/vault-mail.ts';

const { directory } = twoSegmentsNodes();
const LONG_MS = 60_000;

let now = 0;
const clock: Clock = { now: () => now, monotonic: () => now };

/** @param awayMs how long the mailbox takes no mail */
function mailTo(awayMs: number) {
  const keys = {
    has: () => true,
    ready: async () => undefined,
    send: async () => {
      now += awayMs;
    },
  } as unknown as VaultKeys;
  const members = new SegmentsMembers({ directory, keys, clock });
  return new VaultMail({ keys, members, clock, signal: new AbortController().signal });
}

const message: RefusedMessage = {
  ...{ type: 'refused', design: new Uint8Array(16), from: 0, code: 'E_INTERNAL', reason: 'any message does' },
};

it('a node is not silent because its message waited for the mailbox', async () => {
  const posted = await mailTo(LONG_MS).post(message, () => undefined, 'segments-1');
  const answer = posted.answer();
  expect(await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 1_200, 'waiting'))])).toBe('waiting');
  now += LONG_MS;
  expect(await answer).toBeUndefined();
});
