import { type Bytes, bytesOf, MillraceError, toBase64, utf8 } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { displayName, tokenScopes } from './shapes.ts';

// API tokens: bearer secrets for scripts. A token has the form "mr_" ‖ id ‖ "_" ‖ base64url of 32 random bytes. Control
// stores only its hash, which the person signs.

/** Maximum validity of a token, ms. */
export const TOKEN_MAX_MS = 366 * 86_400_000;

/** A person creates a token. Its id is the transaction's. Control never learns the secret before the token is used. */
export const createTokenSchema = z.strictObject({
  type: z.literal('token.create'),
  ...common,
  name: displayName,
  scopes: z
    .array(z.enum(tokenScopes))
    .min(1)
    .max(tokenScopes.length)
    .refine((list) => new Set(list).size === list.length, { error: 'a scope is listed twice' }),
  /** SHA-256 of the token's text. */
  hash: bytesOf(32),
  until: common.expires,
});

/** Revokes a token. Signed by its person's key, an owner-admin of the organisation, or the administrator. */
export const revokeTokenSchema = z.strictObject({
  type: z.literal('token.revoke'),
  ...common,
  token: identifier,
});

/** The beginning of a token that identifies it and is not secret. */
export const tokenPrefix = (id: string): string => `mr_${id}`;

/** @param secret 32 random bytes */
export function formatToken(id: string, secret: Uint8Array): string {
  const text = toBase64(secret).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
  return `${tokenPrefix(id)}_${text}`;
}

/** @throws {MillraceError} E_TOKEN; the message does not contain the text */
export function tokenIdOf(text: string): string {
  const id = /^mr_([0-9a-f]{32})_[\w-]{43}$/.exec(text)?.[1];
  if (id === undefined) throw new MillraceError('E_TOKEN', 'not an API token: expected mr_… in one piece');
  return id;
}

export function tokenHash(text: string): Bytes {
  return sha256(utf8(text));
}
