import { type Bytes, bytesOf, decodeCbor, encodeCbor, fromHex, MillraceError, parse, toHex } from '@millrace/base';
import type { Addresses } from '@millrace/protocol';
import { z } from 'zod';

// Text of an invitation: everything that a new computer needs to join the installation.

const PREFIX = 'millrace-invitation:';

const address = z.strictObject({ host: z.string().min(1).max(255), port: z.number().int().min(1).max(65_535) });
const schema = z.strictObject({
  version: z.literal(1),
  installation: bytesOf(16),
  adminKey: bytesOf(33),
  /** Minimum number of the directory. */
  directory: z.number().int().min(1),
  control: address,
  distribution: address,
  secret: bytesOf(32),
});

export interface Invitation {
  readonly installation: string;
  readonly adminKey: string;
  /** Minimum number of the directory: an older one may name keys that have been replaced. */
  readonly directory: number;
  readonly addresses: Addresses;
  /** The secret key of the invitation, 32 bytes. */
  readonly secret: Bytes;
}

/** Encodes an invitation as text. Anyone who reads the text can use the invitation. */
export function formatInvitation({ installation, adminKey, directory, addresses, secret }: Invitation): string {
  const fields = { version: 1, installation: fromHex(installation), adminKey: fromHex(adminKey), directory, secret };
  const bytes = encodeCbor({
    ...fields,
    control: { ...addresses.control },
    distribution: { ...addresses.distribution },
  });
  const text = btoa(String.fromCharCode(...bytes));
  return PREFIX + text.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** @throws {MillraceError} E_INPUT; the message does not contain the text */
export function parseInvitation(text: string): Invitation {
  const trimmed = text.trim();
  const malformed = (cause?: unknown) =>
    new MillraceError('E_INPUT', `not an invitation: expected ${PREFIX}… in one piece`, { cause });
  if (!trimmed.startsWith(PREFIX) || !/^[\w-]{1,2000}$/.test(trimmed.slice(PREFIX.length))) throw malformed();
  let bytes: Bytes;
  try {
    const binary = atob(trimmed.slice(PREFIX.length).replaceAll('-', '+').replaceAll('_', '/'));
    bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  } catch (cause) {
    throw malformed(cause);
  }
  const { installation, adminKey, directory, control, distribution, secret } = parse(
    schema,
    decodeCbor(bytes, 'invitation'),
    'invitation',
  );
  return {
    installation: toHex(installation),
    adminKey: toHex(adminKey),
    directory,
    addresses: { control, distribution },
    secret: new Uint8Array(secret),
  };
}
