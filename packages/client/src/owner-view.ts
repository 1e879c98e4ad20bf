import type { ObjectView, PrintView } from '@millrace/api';
import { type Bytes, copyBytes, fromBase64, fromHex, MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  type MachinePhoto,
  type MachineReport,
  type OwnerState,
  onlyKey,
  openOwnerFacts,
  openOwnerState,
  openPhoto,
  sha256,
  verifyMachineDocument,
} from '@millrace/protocol';
import { withSealingKey } from './secret.ts';
import type { Session } from './session.ts';

// Reports that machines seal to the owner of a design. Control forwards them and cannot read them.

type Opener = Pick<Session, 'user' | 'directory'>;

/** The point in a licence to which machines seal reports for the owner. */
export function sealingPoint(session: Opener): Promise<Bytes> {
  return withSealingKey(session.user, async ({ publicKey }) => publicKey);
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
  return unlessOther(
    withSealingKey(session.user, (key) => openOwnerState(key, binding, fromHex(sealed.session), bytes)),
  );
}

/**
 * Opens a machine's report to the owner in an event of the ledger. It is signed by the machine that is the event's
 * actor.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT if the report does not match the ledger
 */
export async function openReport(
  session: Opener,
  object: string,
  event: ObjectView['events'][number],
): Promise<OwnerState | undefined> {
  const body = await signedReport(session, object, event);
  const sealed = body?.facts.sealed;
  if (body === undefined || sealed === undefined) return undefined;
  const binding = { installation: session.directory.installation, object };
  return unlessOther(withSealingKey(session.user, (own) => openOwnerFacts(own, binding, body.run, sealed)));
}

/** A photo that a machine's report in the ledger commits to. */
export interface CommittedPhoto {
  /** SHA-256 of the sealed photo, in hexadecimal. */
  readonly hash: string;
  readonly run: Bytes;
}

/**
 * The photos that the machine's reports on an object name, in their order. The sealed photos themselves are at the
 * machine.
 * @throws {MillraceError} as `openReport`
 */
export async function committedPhotos(session: Opener, { object, events }: ObjectView): Promise<CommittedPhoto[]> {
  const bodies = await Promise.all(events.map((event) => signedReport(session, object, event)));
  return bodies.flatMap((body) =>
    (body?.facts.photos ?? []).map((hash) => ({ hash: toHex(hash), run: copyBytes(body?.run ?? hash) })),
  );
}

/**
 * Opens a sealed photo for the owner. It is the machine's, because its signed report names the hash.
 * @returns undefined if no report names it @throws {MillraceError} E_SEAL, E_INPUT, E_KEY_NEEDED
 */
export async function openCommittedPhoto(
  session: Opener,
  object: string,
  committed: readonly CommittedPhoto[],
  sealed: Uint8Array,
): Promise<(MachinePhoto & CommittedPhoto) | undefined> {
  const hash = toHex(sha256(sealed));
  const found = committed.find((photo) => photo.hash === hash);
  if (found === undefined) return undefined;
  const binding = { installation: session.directory.installation, object, run: found.run };
  return { ...found, ...(await withSealingKey(session.user, (key) => openPhoto(key, binding, sealed))) };
}

/** The verified report of a machine in an event; undefined if there is none. */
async function signedReport(
  session: Opener,
  object: string,
  { actor, report }: ObjectView['events'][number],
): Promise<MachineReport | undefined> {
  if (report === undefined) return undefined;
  const { installation } = session.directory;
  const [signed, key] = [decoded(report.signed), decoded(report.key)];
  if (signed === undefined || key === undefined) throw new MillraceError('E_INPUT', 'a report that is not base64');
  if (keyName(key) !== actor) throw new MillraceError('E_AUTH', 'a report that another key signed than its actor’s');
  const { body } = await verifyMachineDocument(signed, installation, onlyKey(key), 'any time');
  if (body.type !== 'report' || body.object !== object)
    throw new MillraceError('E_INPUT', 'a report of another object than the event’s');
  return body;
}

/**
 * Undefined if it was sealed to another key or in another form, or if the session has no key, so that this user cannot
 * read it.
 */
async function unlessOther(opening: Promise<OwnerState>): Promise<OwnerState | undefined> {
  try {
    return await opening;
  } catch (error) {
    if (error instanceof MillraceError && ['E_SEAL', 'E_INPUT', 'E_KEY_NEEDED'].includes(error.code)) return undefined;
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
