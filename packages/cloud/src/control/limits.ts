import { MillraceError } from '@millrace/base';
import { SEAL_BYTES } from '@millrace/identity';
import { type EventRequest, requireRecordable } from '@millrace/ledger';
import { encodeMail, type Message } from '@millrace/protocol';

// Sizes are checked before anything is stored: a record that is too large to be mailed would stay unannounced for ever.

/** A machine whose agent polled within this time is online. */
export const ONLINE_MS = 45_000;

/** Maximum bytes for the name of the key, in addition to the sealed data. */
const MAX_KEY_NAME_BYTES = 128;

/** @throws {MillraceError} E_INPUT */
export function requireSealedLength(what: string, sealed: Uint8Array, plain: number): void {
  const least = plain + SEAL_BYTES;
  if (sealed.length < least || sealed.length > least + MAX_KEY_NAME_BYTES)
    throw new MillraceError('E_INPUT', `${what}: ${sealed.length} bytes; expected ${least}`);
}

/** @throws {MillraceError} E_INPUT, E_TOO_LARGE */
export function requireSizes(events: readonly EventRequest[], messages: readonly Message[]): void {
  for (const event of events) requireRecordable(event);
  for (const message of messages) encodeMail(message).fill(0);
}
