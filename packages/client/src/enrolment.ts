import { controlRoutes, createApiClient } from '@millrace/api';
import { type Bytes, type Clock, fromBase64, MillraceError, type RandomSource, toBase64 } from '@millrace/base';
import { keyName, type Signer, userKey } from '@millrace/identity';
import {
  type Credential,
  type Directory,
  type HttpClient,
  proveInvitation,
  verifyCredential,
  verifyInvitation,
} from '@millrace/protocol';
import { signNew } from './transactions.ts';

/** The enrolling user. Its key was created here and never leaves. */
export interface Enrolling {
  /** Control, reached without a certificate. */
  readonly control: HttpClient;
  readonly directory: Directory;
  readonly signer: Signer;
  readonly clock: Clock;
  readonly random: RandomSource;
}

export interface NewDevice {
  readonly name: string;
  /** Point to which other designers seal secrets for this key (`ownerSealingKey`). */
  readonly sealingKey: Bytes;
}

/** Control's newest directory, for a client without a certificate. The caller must verify it. */
export function guestDirectory(control: HttpClient): Promise<unknown> {
  return createApiClient(controlRoutes, { transport: control }).directory.newest({ after: 0 });
}

/**
 * Enrols a key with the secret of an invitation. Control's answers are verified against the administrator's key, before
 * and after the enrolment. If an answer was lost, the call can be repeated with the same key.
 * @throws {MillraceError} E_NOT_FOUND, E_INVITATION, E_REVOKED, E_SIGNATURE, E_AUTH, E_FORBIDDEN
 */
export async function enrol(
  enrolling: Enrolling,
  secret: Bytes,
  { name: device, sealingKey }: NewDevice,
): Promise<Credential> {
  const { control, directory, signer } = enrolling;
  const { enrolments } = createApiClient(controlRoutes, { transport: control });
  const invitation = userKey(secret);
  try {
    const id = keyName(invitation.publicKey);
    const found = await enrolments.invitation({ id });
    const [document, by] = [fromBase64(found.document), fromBase64(found.signer)];
    const { key } = await verifyInvitation(document, by, directory);
    if (keyName(key) !== id) throw new MillraceError('E_AUTH', 'control answers with another invitation');
    const proof = await proveInvitation(invitation, directory.installation, signer.publicKey);
    const body = { type: 'key.enrol', invitation: id, publicKey: signer.publicKey, sealingKey, device, proof } as const;
    const { bytes } = await signNew(enrolling, body);
    const answer = await enrolments.enrol({ body: { enrolment: toBase64(bytes) } });
    const credential = await verifyCredential(fromBase64(answer.credential), directory);
    if (keyName(credential.publicKey) !== keyName(signer.publicKey))
      throw new MillraceError('E_AUTH', 'control answers with the credential of another key');
    return credential;
  } finally {
    invitation.close();
  }
}

/** Requests a TLS certificate for the caller's TLS key. @param tlsKey SubjectPublicKeyInfo */
export async function requestCertificate(enrolling: Enrolling, tlsKey: Bytes): Promise<string> {
  const { enrolments } = createApiClient(controlRoutes, { transport: enrolling.control });
  const { bytes } = await signNew(enrolling, { type: 'certificate.request', tlsKey });
  return (await enrolments.certificate({ body: { request: toBase64(bytes) } })).certificate;
}
