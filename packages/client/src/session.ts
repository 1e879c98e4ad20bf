import type { Clock, RandomSource } from '@millrace/base';
import type { MemorySigner } from '@millrace/identity';
import type { Directory } from '@millrace/protocol';
import { type Api, createApi, type Transports } from './api.ts';
import type { Contacts } from './contacts.ts';
import type { ClientStorage } from './storage.ts';
import type { SigningContext } from './transactions.ts';

/** The acting user. */
export interface User {
  readonly name: string;
  readonly signer: MemorySigner;
}

/** A user's session with a running installation. */
export interface Session extends SigningContext {
  readonly user: User;
  readonly contacts: Contacts;
  readonly storage: ClientStorage;
  readonly api: Api;
  readonly signal?: AbortSignal | undefined;
  close(): void;
}

export interface SessionOptions<U extends User = User> {
  /** Its fields always reflect the newest directory. */
  readonly directory: Directory;
  readonly user: U;
  readonly contacts: Contacts;
  readonly storage: ClientStorage;
  /** Closed with the session. */
  readonly transports: Transports;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly signal?: AbortSignal | undefined;
  /** How long reads and uploads are retried while a node is unavailable, ms. */
  readonly patienceMs?: number | undefined;
}

export function createSession<U extends User>(options: SessionOptions<U>): Session & { readonly user: U } {
  const { directory, user, contacts, storage, transports, clock, random, signal, patienceMs } = options;
  const api = createApi({ transports, clock, signal, ...(patienceMs === undefined ? {} : { patienceMs }) });
  return {
    directory,
    user,
    contacts,
    storage,
    signer: user.signer,
    api,
    clock,
    random,
    signal,
    close: () => {
      api.close();
      user.signer.close();
    },
  };
}
