import { MillraceError } from '@millrace/base';
import type { Machine } from '@millrace/protocol';

/** A contact of this user, known by name. */
export interface KnownUser {
  readonly name: string;
  /** Key name, 32 hexadecimal digits. */
  readonly user: string;
  /** secp256k1, compressed, hexadecimal. */
  readonly publicKey: string;
}

/** A machine whose registration this user stores and need not request from control. */
export interface KnownMachine {
  readonly name: string;
  readonly machine: string;
  readonly serial: string;
  /** @throws {MillraceError} E_MACHINE_UNKNOWN if the machine's name does not match its key */
  registration(): Machine;
}

/** Other users and machines that a user knows without asking a node. */
export interface Contacts {
  readonly users: readonly KnownUser[];
  readonly machines: readonly KnownMachine[];
}

/** Finds a user by name or key name. @throws {MillraceError} E_NOT_FOUND */
export function findUser<T extends KnownUser>({ users }: { readonly users: readonly T[] }, name: string): T {
  const entry = users.find((user) => user.name === name || user.user === name);
  if (entry === undefined) {
    const known = users.map((user) => user.name).join(', ');
    throw new MillraceError('E_NOT_FOUND', `there is no user ${name}; there are ${known}`);
  }
  return entry;
}
