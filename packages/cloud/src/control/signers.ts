import type { SignerView } from '@millrace/api';
import { fromHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import type { ControlContext } from './context.ts';
import { signerOf } from './records.ts';

type Known = Pick<ControlContext, 'records' | 'directory'>;

/** Person and organisation of a user's key, as control verified its credential; undefined for other keys. */
export async function userOf({ records, directory }: Known, key: string): Promise<SignerView | undefined> {
  const user = await records.users.get(key);
  if (user === undefined)
    return key === keyName(fromHex(directory.adminKey)) ? { key, name: 'the administrator' } : undefined;
  const { name, member } = user;
  if (member === undefined) return { key, name };
  const organisation = await records.organisations.get(member.organisation);
  return { key, name, organisation: { organisation: member.organisation, name: organisation?.name ?? '' } };
}

/** Who signed a recorded document. */
export async function signerView(context: Known, document: Uint8Array): Promise<SignerView> {
  const key = signerOf(document);
  return (await userOf(context, key)) ?? { key };
}
