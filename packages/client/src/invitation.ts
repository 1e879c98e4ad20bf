import { type Bytes, bytesOf, decodeCbor, encodeCbor, fromHex, MillraceError, parse, toHex } from '@millrace/base';
import type { Addresses } from '@millrace/protocol';
import { z } from 'zod';

// The text that somebody is invited with: all that a computer needs which has nothing of the installation.

const PREFIX = 'millrace-invitation:';

const address = z.strictObject({ host: z.string().min(1).max(255), port: z.number().int().min(1).max(65_535) });
const schema = z.strictObject({
  version: z.literal(1),
  installation: bytesOf(16),
  adminKey: bytesOf(33),
  /** The directory is at least as new. */
  directory: z.number().int().min(1),
  control: address,
  distribution: address,
  secret: bytesOf(32),
});

export interface Invitation {
  readonly installation: string;
  readonly adminKey: string;
  /** Least number of the directory: an older one may name keys that have been replaced. */
  readonly directory: number;
  readonly addresses: Addresses;
  /** The secret key of the invitation, 32 bytes. */
  readonly secret: Bytes;
}

/** The text of an invitation. Whoever reads it can use the invitation. */
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

/** @throws {MillraceError} E_INPUT; the text is not repeated in it */
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
