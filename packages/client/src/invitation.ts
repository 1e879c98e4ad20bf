import { type Bytes, bytesOf } from '@millrace/base';
import { z } from 'zod';
import { fromText, toText } from './armored.ts';
import {
  decodedReference,
  encodedReference,
  type InstallationReference,
  installationFields,
} from './installation-text.ts';

// Text of an invitation: everything that a new computer needs to join the installation.

const PREFIX = 'millrace-invitation:';

const schema = z.strictObject({ ...installationFields, secret: bytesOf(32) });

export interface Invitation extends InstallationReference {
  /** The secret key of the invitation, 32 bytes. */
  readonly secret: Bytes;
}

/** Encodes an invitation as text. Anyone who reads the text can use the invitation. */
export function formatInvitation({ secret, ...reference }: Invitation): string {
  return toText(PREFIX, { ...encodedReference(reference), secret });
}

/** @throws {MillraceError} E_INPUT; the message does not contain the text */
export function parseInvitation(text: string): Invitation {
  const { secret, ...fields } = fromText(text, { prefix: PREFIX, what: 'an invitation', schema });
  return { ...decodedReference(fields), secret: new Uint8Array(secret) };
}
