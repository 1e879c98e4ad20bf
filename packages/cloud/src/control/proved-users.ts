import { encodeCbor, equalBytes, fromHex, MillraceError, toHex, toMillraceError } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { keyName } from '@millrace/identity';
import { verifyCredential } from '@millrace/protocol';
import type { ControlContext } from './context.ts';
import type { Records, UserRecord } from './records.ts';

// Whoever can write to control's keyspace can write records of people and tokens. What such a record allows is
// therefore what its signed documents say (docs/adr/0099).

type Known = Pick<ControlContext, 'directory' | 'records'>;

/** Hashes of the records that were compared with their documents, the newest last. */
const provedOf = new WeakMap<Records, Set<string>>();
/** Hashes that are kept: more people than are active at a time. */
const MOST = 20_000;

/**
 * The record of a user's key, after its credential was verified and compared with it; undefined if there is none. An
 * unchanged record is verified once. Whether a document in the credential was revoked since, `requireChainCounting` says.
 * @throws {MillraceError} E_AUTH if the credential is not valid or the record says something else; E_REVOKED
 */
export async function provedUser({ directory, records }: Known, name: string): Promise<UserRecord | undefined> {
  const user = await records.users.get(name);
  if (user === undefined) return undefined;
  const proved = provedOf.get(records) ?? new Set();
  provedOf.set(records, proved);
  const hash = toHex(sha256(encodeCbor([name, user] as never)));
  if (proved.has(hash)) return user;
  const refuse = (cause?: unknown) =>
    new MillraceError('E_AUTH', `the record of the key ${name} is not what its credential says`, { cause });
  const { publicKey, until, member } = await verifyCredential(user.document, directory).catch((error: unknown) => {
    throw toMillraceError(error).code === 'E_REVOKED' ? error : refuse(error);
  });
  const isOwn = user.user === name && keyName(publicKey) === name && equalBytes(user.publicKey, publicKey);
  if (!isOwn || fieldsOf(user.member) !== fieldsOf(member && { ...member, until })) throw refuse();
  const [oldest] = proved;
  if (proved.size >= MOST && oldest !== undefined) proved.delete(oldest);
  proved.add(hash);
  return user;
}

/** The public key of a user, or of the administrator. @throws {MillraceError} as `provedUser` */
export async function provedKey(context: Known, name: string): Promise<Uint8Array | undefined> {
  const admin = fromHex(context.directory.adminKey);
  return name === keyName(admin) ? admin : (await provedUser(context, name))?.publicKey;
}

/** What a membership allows, as text that can be compared. */
function fieldsOf(
  member:
    | (Pick<NonNullable<UserRecord['member']>, 'organisation' | 'person' | 'until'> & {
        readonly roles: readonly string[];
      })
    | undefined,
): string {
  if (member === undefined) return '';
  const { organisation, person, until, roles } = member;
  return JSON.stringify([organisation, person, until, [...roles].sort()]);
}
