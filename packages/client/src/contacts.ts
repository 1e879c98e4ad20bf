import { MillraceError } from '@millrace/base';
import type { Machine } from '@millrace/protocol';

/** A user whom this one knows by name. */
export interface KnownUser {
  readonly name: string;
  /** Name of the key, 32 hexadecimal digits. */
  readonly user: string;
  /** secp256k1, compressed, hexadecimal. */
  readonly publicKey: string;
}

/** A machine whose registration this user holds itself and need not take from control. */
export interface KnownMachine {
  readonly name: string;
  readonly machine: string;
  readonly serial: string;
  /** @throws {MillraceError} E_MACHINE_UNKNOWN when the machine's name is not its key's */
  registration(): Machine;
}

/** What a user knows of others without asking a node. */
export interface Contacts {
  readonly users: readonly KnownUser[];
  readonly machines: readonly KnownMachine[];
}

/** By name, or by the name of the key. @throws {MillraceError} E_NOT_FOUND */
export function findUser<T extends KnownUser>({ users }: { readonly users: readonly T[] }, name: string): T {
  const entry = users.find((user) => user.name === name || user.user === name);
  if (entry === undefined) {
    const known = users.map((user) => user.name).join(', ');
    throw new MillraceError('E_NOT_FOUND', `there is no user ${name}; there are ${known}`);
  }
  return entry;
}
