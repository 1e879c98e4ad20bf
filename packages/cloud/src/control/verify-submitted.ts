import { type Bytes, copyBytes, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { requireChainCounting, requireCounting, verifyTransaction } from '@millrace/protocol';
import { userActor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { requireNewest } from './node-states.ts';
import { requireInForce } from './people.ts';
import { provedKey, provedUser } from './proved-users.ts';
import { replay } from './replay.ts';
import type { Submitted } from './submitted.ts';

/**
 * Verifies a signed transaction: signature, expiry, revocation, and that it was not carried out yet.
 * @param allow gets the signer's key name and decides whether the caller may submit it
 * @throws {MillraceError} E_AUTH, E_SIGNATURE, E_INPUT, E_EXPIRED, E_CLOCK, E_REVOKED, E_FORBIDDEN, E_REPLAY, E_QUARANTINE
 */
export async function verifySubmitted(
  context: ControlContext,
  bytes: Bytes,
  allow: (signer: string) => void,
): Promise<Submitted> {
  const { directory, clock, records } = context;
  requireNewest(context);
  const signed = await verifyTransaction(
    bytes,
    directory.installation,
    async (id) => {
      const key = await provedKey(context, toHex(id));
      return key && copyBytes(key);
    },
    clock.now(),
  );
  const signer = keyName(signed.signer);
  allow(signer);
  requireCounting(directory, signer, bytes);
  await requireInForce(context, signer);
  const user = await provedUser(context, signer);
  const credential = copyBytes(user?.document ?? new Uint8Array());
  if (user !== undefined) requireChainCounting(credential, directory);
  const id = toHex(signed.body.id);
  if ((await records.seen.get(id)) !== undefined) throw replay(id);
  return { ...signed, actor: { ...userActor(directory, signer), member: user?.member }, credential };
}
