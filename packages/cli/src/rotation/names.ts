import { MillraceError } from '@millrace/base';

/** What can be rotated, and what for. */
export const rotatable = {
  tls: 'TLS certificates and keys of nodes',
  identity: 'identity keys of nodes, which authenticate mail and sessions',
  permit: 'the key with which control signs permits',
  log: 'the key with which control signs the ledger',
  authority: 'the certificate authority, and with it every certificate',
} as const;
export type Rotatable = keyof typeof rotatable;

/** @throws {MillraceError} E_INPUT */
export function requireRotatable(text: string): Rotatable {
  if (Object.hasOwn(rotatable, text)) return text as Rotatable;
  throw new MillraceError('E_INPUT', `${text} cannot be rotated; ${Object.keys(rotatable).join(', ')} can`);
}

export const DAY_MS = 86_400_000;
/** What runs out within so many days is shown, and renewed by `millrace up`. */
export const NOTICE_DAYS = 30;
/** How long what was replaced goes on being accepted, unless told. */
export const OVERLAP_DAYS = 7;
/** A key of the installation should be replaced once it is so old. */
export const KEY_DAYS = 730;
