import { type Bytes, fromHex } from '@millrace/base';
import type { DesignCore } from '@millrace/vault';
import { findUser } from './contacts.ts';
import { verifyKeyView } from './people.ts';
import type { Session } from './session.ts';

/**
 * The approvals that a design's core asks of every licence.
 * @param names names of contacts, or key names of users
 * @throws {MillraceError} E_NOT_FOUND, E_SIGNATURE, E_AUTH
 */
export async function approvalDemand(
  session: Session,
  needed: number,
  names: readonly string[],
): Promise<NonNullable<DesignCore['approvals']>> {
  const approvers: Bytes[] = [];
  for (const name of names) approvers.push(await userKey(session, name));
  return { needed, approvers };
}

async function userKey(session: Session, name: string): Promise<Bytes> {
  const { contacts, api } = session;
  const known = contacts.users.some((user) => user.name === name || user.user === name);
  if (known || !/^[0-9a-f]{32}$/.test(name)) return fromHex(findUser(contacts, name).publicKey);
  return (await verifyKeyView(session, await api.key(name))).publicKey;
}
