import { type Clock, type RandomSource, silentLogger } from '@millrace/base';
import type { MemorySigner, TlsIdentity } from '@millrace/identity';
import { type Addresses, type Directory, watchDirectory } from '@millrace/protocol';
import { type Api, createApi } from './api.ts';
import type { Contacts } from './contacts.ts';
import type { SigningContext } from './transactions.ts';

/** A user who acts: signs transactions, opens connections. */
export interface User {
  readonly name: string;
  /** Where this user's records, uploads and copies lie. */
  readonly folder: string;
  readonly signer: MemorySigner;
  /** As it was when it was read last. */
  readonly tls: TlsIdentity;
  /** Reads the certificate again. */
  refresh(): Promise<boolean>;
  /** Wipes the keys. */
  close(): void;
}

/** A user at work in a running installation. */
export interface Session extends SigningContext {
  readonly user: User;
  readonly contacts: Contacts;
  readonly api: Api;
  readonly signal?: AbortSignal | undefined;
  close(): void;
}

export interface SessionOptions {
  /** Its fields are those that count now. */
  readonly directory: Directory;
  /** Reads the directory again; whether it changed. */
  readonly refreshDirectory: () => Promise<boolean>;
  readonly addresses: Addresses;
  /** The session closes it. */
  readonly user: User;
  readonly contacts: Contacts;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly signal?: AbortSignal | undefined;
  readonly patienceMs?: number | undefined;
}

export function createSession(options: SessionOptions): Session {
  const { directory, refreshDirectory, addresses, user, contacts, clock, random, signal, patienceMs } = options;
  // A session may outlast a rotation.
  const refresh = async () => {
    const renewed = await user.refresh();
    return (await refreshDirectory()) || renewed;
  };
  const watch = watchDirectory({ refresh }, () => undefined, silentLogger);
  const api = createApi({
    directory,
    addresses,
    user,
    clock,
    signal,
    ...(patienceMs === undefined ? {} : { patienceMs }),
  });
  return {
    directory,
    user,
    contacts,
    signer: user.signer,
    api,
    clock,
    random,
    signal,
    close: () => {
      watch.close();
      api.close();
      user.close();
    },
  };
}
