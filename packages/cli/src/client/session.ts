import { type Clock, MillraceError, type RandomSource, silentLogger } from '@millrace/base';
import { watchDirectory } from '@millrace/protocol';
import { type Installation, openUser, readAddresses, type User } from '../installation/open.ts';
import { type Api, createApi } from './api.ts';
import type { SigningContext } from './transactions.ts';

/** A user at work in a running installation. */
export interface Session extends SigningContext {
  readonly installation: Installation;
  readonly user: User;
  readonly api: Api;
  readonly signal?: AbortSignal | undefined;
  close(): void;
}

export interface SessionOptions {
  readonly installation: Installation;
  /** Name of the user. */
  readonly user: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly signal?: AbortSignal | undefined;
  readonly patienceMs?: number;
}

/** @throws {MillraceError} E_UNAVAILABLE when nothing runs, E_NOT_FOUND, E_CONFIG */
export async function openSession(options: SessionOptions): Promise<Session> {
  const { installation, clock, random, signal, patienceMs } = options;
  const addresses = await readAddresses(installation.layout);
  const user = await openUser(installation, options.user);
  const { directory } = installation;
  // A command may outlast a rotation.
  const refresh = async () => {
    const renewed = await user.refresh();
    return (await installation.directories.refresh()) || renewed;
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
    installation,
    directory,
    user,
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

/**
 * The one thing that a user means by an identifier, the beginning of one (4 digits or more), or a name.
 * @throws {MillraceError} E_NOT_FOUND, E_INPUT when several fit
 */
export function pick<T>(
  what: string,
  wanted: string,
  things: readonly T[],
  namesOf: (thing: T) => readonly string[],
): T {
  const exact = things.filter((thing) => namesOf(thing).includes(wanted));
  const begun =
    wanted.length >= 4 ? things.filter((thing) => namesOf(thing).some((name) => name.startsWith(wanted))) : [];
  const found = exact.length > 0 ? exact : begun;
  const [first, ...others] = found;
  if (first === undefined) throw new MillraceError('E_NOT_FOUND', `there is no ${what} ${wanted}`);
  if (others.length > 0) {
    const names = found.map((thing) => namesOf(thing)[0]).join(', ');
    throw new MillraceError('E_INPUT', `${wanted} means several (${names}): say more of it`);
  }
  return first;
}
