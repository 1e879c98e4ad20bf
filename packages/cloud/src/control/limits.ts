import { MillraceError } from '@millrace/base';
import { SEAL_BYTES } from '@millrace/identity';
import { type EventRequest, requireRecordable } from '@millrace/ledger';
import { encodeMail, type Message } from '@millrace/protocol';

// Whatever comes of a transaction is measured before anything is written down: a record that cannot be announced would
// stay for ever.

/** Beside what is sealed: to which key. */
const ROOM = 128;

/** @throws {MillraceError} E_INPUT */
export function requireSealedLength(what: string, sealed: Uint8Array, plain: number): void {
  const least = plain + SEAL_BYTES;
  if (sealed.length < least || sealed.length > least + ROOM)
    throw new MillraceError('E_INPUT', `${what}: ${sealed.length} bytes, where ${least} are expected`);
}

/** @throws {MillraceError} E_INPUT, E_TOO_LARGE */
export function requireRoom(events: readonly EventRequest[], messages: readonly Message[]): void {
  for (const event of events) requireRecordable(event);
  for (const message of messages) encodeMail(message).fill(0);
}
