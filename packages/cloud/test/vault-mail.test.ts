import { type Clock, silentLogger } from '@millrace/base';
import { twoSegmentsNodes } from '@millrace/testkit/protocol/support';
import type { RefusedMessage } from '@millrace/vault';
import { expect, it } from 'vitest';
import { SegmentsMembers } from '../src/keys/segments-members.ts';
import { VaultKeys } from '../src/keys/vault-keys.ts';
import { VaultMail } from '../src/keys/vault-mail.ts';
import type { MailClient } from '../src/node/mail-client.ts';
import { VaultKeyRing } from '../src/segments/vault-key-ring.ts';

const { directory } = twoSegmentsNodes();
const NODES = ['segments-1', 'segments-2'] as const;
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

it('a keys node that has just become active asks the segments node that answers, not the one that is lost', async () => {
  const mail = { send: async () => undefined } as unknown as MailClient;
  const ring = (node: string) => new VaultKeyRing(directory, node).renew();
  for (const [lost, answers] of [NODES, [...NODES].reverse()] as const) {
    const keys = new VaultKeys({ mail, directory, id: 'keys-1', logger: silentLogger });
    const members = new SegmentsMembers({ directory, keys, clock });
    const { signal } = new AbortController();
    const ready = new VaultMail({ keys, members, clock, signal }).ready();
    await keys.stated(answers, ring(answers));
    expect(await ready).toBe(answers);
    // The lost one is back.
    await keys.stated(lost, ring(lost));
    expect(members.answering).toContain(lost);
    await keys.close();
  }
});
