import { MillraceError } from '@millrace/base';

/** Kinds of keys that can be rotated, with their purpose. */
export const rotatable = {
  tls: 'TLS certificates and keys of nodes',
  identity: 'identity keys of nodes, which authenticate mail and sessions',
  permit: 'the key with which control signs permits',
  log: 'the key with which control signs the ledger',
  users: 'the certificate authority of users; people’s commands renew their certificates by themselves',
  authority: 'the certificate authority, and with it every certificate',
} as const;
export type Rotatable = keyof typeof rotatable;

/** @throws {MillraceError} E_INPUT */
export function requireRotatable(text: string): Rotatable {
  if (Object.hasOwn(rotatable, text)) return text as Rotatable;
  throw new MillraceError('E_INPUT', `${text} cannot be rotated; ${Object.keys(rotatable).join(', ')} can`);
}

export const DAY_MS = 86_400_000;
/** Keys and certificates that expire within this many days are shown, and renewed by `millrace up`. */
export const NOTICE_DAYS = 30;
/** Default time for which replaced keys stay accepted, days. */
export const OVERLAP_DAYS = 7;
/** Age at which a key of the installation should be replaced, days. */
export const KEY_DAYS = 730;
