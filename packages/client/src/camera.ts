import { fromBase64, MillraceError } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import { readTransaction, type TransactionOf, verifyMachineRegistration } from '@millrace/protocol';
import { ownCredential } from './people.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/** How long one signature lets its signer look, ms. */
const WATCH_MS = 10 * 60_000;

/** What is needed to ask a machine for pictures, and to open them. */
export interface CameraWatch {
  readonly installation: string;
  readonly watch: TransactionOf<'camera.watch'>;
  /** `camera.watch`, signed. */
  readonly signed: Uint8Array<ArrayBuffer>;
  /** P-256 scalar of the key to which pictures are sealed. */
  readonly secret: Uint8Array<ArrayBuffer>;
  /** Of the machine, as the administrator has registered it. */
  readonly machineKey: Uint8Array;
}

/**
 * Signs that the user looks through a machine's camera for ten minutes. `openPicture` opens what the machine gives.
 * @throws {MillraceError} E_FORBIDDEN (no operator of an organisation), E_NOT_FOUND, E_SIGNATURE
 */
export async function watchCamera(session: Session, machine: string): Promise<CameraWatch> {
  const { api, directory } = session;
  const { member } = await ownCredential(session);
  if (member === undefined)
    throw new MillraceError('E_FORBIDDEN', 'only people of the organisation that holds a machine look at it');
  const found = (await api.machines()).find((known) => known.machine === machine);
  if (found === undefined) throw new MillraceError('E_NOT_FOUND', `there is no machine ${machine}`);
  const { publicKey, machine: name } = await verifyMachineRegistration(fromBase64(found.document), directory);
  if (name !== machine) throw new MillraceError('E_CONFLICT', 'control shows the registration of another machine');
  const viewer = generateP256Key();
  const { organisation } = member;
  const body = { type: 'camera.watch' as const, organisation, machine, key: viewer.publicKey };
  const { bytes: signed } = await signNew(session, body, session.random(16), WATCH_MS);
  const secret = viewer.exportSecret();
  viewer.close();
  const watch = readTransaction(signed) as TransactionOf<'camera.watch'>;
  return { installation: directory.installation, watch, signed, secret, machineKey: publicKey };
}
