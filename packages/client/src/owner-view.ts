import type { ObjectView, PrintView } from '@millrace/api';
import { type Bytes, fromBase64, fromHex, MillraceError, toHex } from '@millrace/base';
import { keyId, keyName, ownerSealingKey, type P256Key } from '@millrace/identity';
import { type OwnerState, openOwnerFacts, openOwnerState, verifyMachineDocument } from '@millrace/protocol';
import { withSecret } from './secret.ts';
import type { Session } from './session.ts';

// What machines seal to the owner of a design: control passes it on and cannot read it.

type Opener = Pick<Session, 'user' | 'directory'>;

/** Runs `work` with the key to which machines seal; the caller's, who may or may not be the owner. */
async function withSealingKey<T>({ user }: Opener, work: (key: P256Key) => Promise<T>): Promise<T> {
  const key = await withSecret(user, ownerSealingKey);
  try {
    return await work(key);
  } finally {
    key.close();
  }
}

/** The point that a licence names, so that machines can seal to its owner. */
export function sealingPoint(session: Opener): Promise<Bytes> {
  return withSealingKey(session, async ({ publicKey }) => publicKey);
}

/**
 * Where the machine of a running print is. Undefined when control shows none to this user, or shows what does not open:
 * anybody can seal to the owner, so that this is news, and no evidence.
 */
export async function openLive(session: Opener, { object, progress }: PrintView): Promise<OwnerState | undefined> {
  const sealed = progress?.owner;
  if (sealed === undefined || object === undefined) return undefined;
  const binding = { installation: session.directory.installation, object };
  const bytes = decoded(sealed.sealed);
  if (bytes === undefined) return undefined;
  return withSealingKey(session, (key) => unlessOther(openOwnerState(key, binding, fromHex(sealed.session), bytes)));
}

/**
 * What a machine reported to the owner with an event of the ledger: signed by the machine that is the event's actor.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT: the report is not what the ledger says it is
 */
export async function openReport(
  session: Opener,
  object: string,
  { actor, report }: ObjectView['events'][number],
): Promise<OwnerState | undefined> {
  if (report === undefined) return undefined;
  const { installation } = session.directory;
  const [signed, key] = [decoded(report.signed), decoded(report.key)];
  if (signed === undefined || key === undefined) throw new MillraceError('E_INPUT', 'a report that is not base64');
  if (keyName(key) !== actor) throw new MillraceError('E_AUTH', 'a report that another key signed than its actor’s');
  const lookup = (id: Bytes) => (toHex(id) === toHex(keyId(key)) ? key : undefined);
  const { body } = await verifyMachineDocument(signed, installation, lookup, 'any time');
  if (body.type !== 'report' || body.object !== object)
    throw new MillraceError('E_INPUT', 'a report of another object than the event’s');
  const { sealed } = body.facts;
  if (sealed === undefined) return undefined;
  const binding = { installation, object };
  return withSealingKey(session, (own) => unlessOther(openOwnerFacts(own, binding, body.run, sealed)));
}

/** Sealed to another key, or not as we write it: nothing that this user can read. */
async function unlessOther(opening: Promise<OwnerState>): Promise<OwnerState | undefined> {
  try {
    return await opening;
  } catch (error) {
    if (error instanceof MillraceError && (error.code === 'E_SEAL' || error.code === 'E_INPUT')) return undefined;
    throw error;
  }
}

function decoded(text: string): Bytes | undefined {
  try {
    return fromBase64(text);
  } catch {
    return undefined;
  }
}
