import { type Clock, MillraceError, type RandomSource, silentLogger } from '@millrace/base';
import { type Contacts, createSession, guestDirectory, type Session } from '@millrace/client';
import { connectNodes, createFolderStorage } from '@millrace/client/node';
import {
  type Addresses,
  addressesOf,
  createHttpClient,
  type Directory,
  type DirectoryFile,
  watchDirectory,
} from '@millrace/protocol';
import { renewCertificate } from './certificate.ts';
import { type Description, machineFromJson } from './description.ts';
import { type Installation, type InstallationUser, openUser, readAddresses } from './open.ts';

/** Session of a person with an installation that this computer knows. */
export interface InstallationSession extends Session {
  readonly user: Pick<InstallationUser, 'name' | 'folder' | 'signer'>;
  readonly installation: Installation;
}

/** Session of a user whose key is on this computer. */
export interface UserSession extends InstallationSession {
  readonly user: InstallationUser;
}

export interface InstallationSessionOptions {
  readonly installation: Installation;
  /** Name of the user. */
  readonly user: string;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly signal?: AbortSignal | undefined;
  readonly patienceMs?: number | undefined;
}

/** @throws {MillraceError} E_UNAVAILABLE if nothing runs, E_NOT_FOUND, E_CONFIG */
export async function openSession(options: InstallationSessionOptions): Promise<UserSession> {
  const { installation, user: name, ...others } = options;
  const { directory, directories, description } = installation;
  const addresses = await readAddresses(installation);
  const user = await openUser(installation, name);
  await renewCertificate({ ...others, user, directory, addresses });
  // A session may outlast a rotation.
  const refresh = async () => {
    const renewed = await user.refresh();
    return (await directories.refresh()) || renewed;
  };
  const watch = watchDirectory({ refresh }, () => undefined, silentLogger);
  const session = createSession({
    ...others,
    directory,
    user,
    contacts: contactsOf(description),
    storage: createFolderStorage(user.folder),
    transports: connectNodes({ directory, addresses, user }),
  });
  const changed =
    (await takeNewerDirectory((after) => session.api.newerDirectory(after), directories)) ??
    (await takeNewerDirectory(() => directoryForGuests(directory, addresses), directories));
  if (changed) await renewCertificate({ ...others, user, directory, addresses });
  return {
    ...session,
    installation,
    close: () => {
      watch.close();
      session.close();
      user.close();
    },
  };
}

/**
 * Fetches a newer directory from control, because the installation's home may be a copy on another computer. If control
 * does not answer, or sends a directory that is older or not signed by the administrator, nothing changes.
 * @returns whether the directory has changed; undefined if control could not be reached
 */
export async function takeNewerDirectory(
  ask: (after: number) => Promise<unknown>,
  file: DirectoryFile,
): Promise<boolean | undefined> {
  try {
    const newer = await ask(file.sequence);
    return newer !== undefined && (await file.offer(newer));
  } catch (error) {
    // Keep the current directory.
    return error instanceof MillraceError && error.code === 'E_UNAVAILABLE' ? undefined : false;
  }
}

/** As a client without a certificate: control may have replaced the authority that issued the user's. */
async function directoryForGuests(directory: Directory, given: Addresses): Promise<unknown> {
  const addresses = () => addressesOf(directory, 'control', () => given.control);
  const guest = createHttpClient({ addresses, tls: { directory } });
  try {
    return await guestDirectory(guest);
  } finally {
    guest.close();
  }
}

function contactsOf({ users, machines }: Description): Contacts {
  return {
    users,
    machines: machines.map(({ name, registration }) => ({
      name,
      machine: registration.machine,
      serial: registration.serial,
      registration: () => machineFromJson(registration),
    })),
  };
}
