import type { ObjectView, PrintView } from '@millrace/api';
import { type Bytes, fromBase64, fromHex, MillraceError, toHex } from '@millrace/base';
import { keyId, keyName, ownerSealingKey, type P256Key } from '@millrace/identity';
import { type OwnerState, openOwnerFacts, openOwnerState, verifyMachineDocument } from '@millrace/protocol';
import { withSecret } from './secret.ts';
import type { Session } from './session.ts';

// Reports that machines seal to the owner of a design. Control forwards them and cannot read them.

type Opener = Pick<Session, 'user' | 'directory'>;

/** Runs `work` with the key to which machines seal. It is the caller's key, who need not be the owner. */
async function withSealingKey<T>({ user }: Opener, work: (key: P256Key) => Promise<T>): Promise<T> {
  const key = await withSecret(user, ownerSealingKey);
  try {
    return await work(key);
  } finally {
    key.close();
  }
}

/** The point in a licence to which machines seal reports for the owner. */
export function sealingPoint(session: Opener): Promise<Bytes> {
  return withSealingKey(session, async ({ publicKey }) => publicKey);
}

/**
 * Position of the machine in a running print. Undefined if control provides none to this user, or one that does not
 * open: anybody can seal to the owner, so this is information, not evidence.
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
 * Opens a machine's report to the owner in an event of the ledger. It is signed by the machine that is the event's
 * actor.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT if the report does not match the ledger
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

/** Undefined if it was sealed to another key or in another form, so that this user cannot read it. */
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
