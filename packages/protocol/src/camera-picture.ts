import { type Bytes, concatBytes, equalBytes, fromHex, MillraceError, toHex, utf8 } from '@millrace/base';
import { type MachineKey, type P256Key, seal, unseal } from '@millrace/identity';
import { type ActedFor, type Attested, verifyFor } from './acting.ts';
import { MAX_PICTURE_BYTES } from './camera-documents.ts';
import type { Directory } from './directory.ts';
import {
  onlyKey,
  readTransaction,
  signMachineDocument,
  type TransactionOf,
  verifyMachineDocument,
} from './documents.ts';
import { cleanPhoto, jpegSize } from './photo.ts';
import { verifyAssignment } from './registrations.ts';

type Named = Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;
type Watch = TransactionOf<'camera.watch'>;

/** As control gives it to a machine. Nothing in it is verified. */
export interface OfferedWatch {
  /** `camera.watch`, and the credential of its signer. */
  readonly watch: Attested;
  /** `machine.assign`. */
  readonly assignment: Uint8Array;
}

/**
 * Verifies that an operator of the organisation that holds the machine has signed the request to look at it.
 * @param registration hash of the machine's registration
 * @throws {MillraceError} E_FORBIDDEN (another machine, or an organisation that does not hold it), E_INPUT, and as
 *   `verifyFor` and `verifyAssignment`
 */
export async function verifyWatch(
  { watch, assignment: document }: OfferedWatch,
  { machine, registration }: { readonly machine: string; readonly registration: Uint8Array },
  directory: Named,
  now: number,
): Promise<ActedFor<Watch>> {
  const { organisation } = watchIn(readTransaction(watch.transaction));
  const { body, ...signed } = await verifyFor({ organisation }, 'operator', watch, directory, now);
  const verified = watchIn(body);
  const assignment = await verifyAssignment(document, directory);
  const isHeld = assignment.machine === machine && assignment.organisation === organisation;
  if (verified.machine !== machine || !isHeld || !equalBytes(assignment.registration, registration))
    throw new MillraceError('E_FORBIDDEN', 'the organisation of the signer does not hold this machine');
  return { body: verified, ...signed };
}

function watchIn(body: { readonly type: string }): Watch {
  if (body.type !== 'camera.watch') throw new MillraceError('E_INPUT', 'not a camera.watch');
  return body as Watch;
}

/** Maximum width and height of a picture. A small file may state a size that fills a browser's memory. */
const MAX_SIDE = 8_192;

/**
 * Checks a picture of a camera, and removes its metadata.
 * @throws {MillraceError} E_INPUT (no JPEG), E_TOO_LARGE
 */
export function requirePicture(file: Uint8Array): Bytes {
  const { type, bytes } = cleanPhoto(file);
  if (type !== 'image/jpeg') throw new MillraceError('E_INPUT', 'the camera gives no JPEG');
  const what = 'set a smaller size at the camera';
  if (bytes.length > MAX_PICTURE_BYTES)
    throw new MillraceError(
      'E_TOO_LARGE',
      `the camera’s picture has ${bytes.length} bytes; at most ${MAX_PICTURE_BYTES}: ${what}`,
    );
  const { width, height } = jpegSize(bytes);
  if (Math.max(width, height) > MAX_SIDE)
    throw new MillraceError('E_TOO_LARGE', `the camera’s picture is ${width} × ${height} pixels: ${what}`);
  return bytes;
}

const infoOf = (installation: string, { machine, id }: Pick<Watch, 'machine' | 'id'>): Bytes =>
  concatBytes(utf8('millrace/v1/camera-picture/'), fromHex(installation), fromHex(machine), id);

/** How long a picture counts, ms. The viewer's nonce says more than a clock. */
const PICTURE_MS = 60_000;

export interface PictureBinding {
  readonly installation: string;
  readonly watch: Watch;
  /** 16 bytes, as the viewer chose them. */
  readonly nonce: Uint8Array;
}

/** Signs a picture as the machine, and seals it to the viewer. @param id 16 random bytes @throws {MillraceError} E_HSM */
export async function sealPicture(
  key: MachineKey,
  { installation, watch, nonce }: PictureBinding,
  { id, time, jpeg }: { readonly id: Bytes; readonly time: number; readonly jpeg: Bytes },
): Promise<Bytes> {
  const signed = await signMachineDocument(key, installation, {
    type: 'camera.picture',
    ...{ id, issued: time, expires: time + PICTURE_MS },
    ...{ machine: watch.machine, watch: watch.id, nonce: new Uint8Array(nonce), jpeg },
  });
  return seal(watch.key, infoOf(installation, watch), signed);
}

/**
 * Opens a picture as the viewer: the machine has signed it for this request, and it is a JPEG.
 * @param machineKey of the machine's registration, verified
 * @returns the picture, without metadata
 * @throws {MillraceError} E_SEAL, E_SIGNATURE, E_AUTH, E_CONFLICT (of another request), E_INPUT (no JPEG)
 */
export async function openPicture(
  viewer: P256Key,
  machineKey: Uint8Array,
  { installation, watch, nonce }: PictureBinding,
  sealed: Uint8Array,
): Promise<Bytes> {
  const signed = await unseal(viewer, infoOf(installation, watch), sealed);
  const { body } = await verifyMachineDocument(signed, installation, onlyKey(machineKey), 'any time');
  const isOf =
    body.type === 'camera.picture' &&
    body.machine === watch.machine &&
    equalBytes(body.watch, watch.id) &&
    equalBytes(body.nonce, nonce);
  if (!isOf)
    throw new MillraceError('E_CONFLICT', 'control gives the picture of another request', {
      data: { watch: toHex(watch.id) },
    });
  return requirePicture(body.jpeg);
}
