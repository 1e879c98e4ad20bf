import { type Clock, type RandomSource, silentLogger } from '@millrace/base';
import { type Contacts, createSession, type Session } from '@millrace/client';
import { connectNodes, createFolderStorage } from '@millrace/client/node';
import { type DirectoryFile, watchDirectory } from '@millrace/protocol';
import { renewCertificate } from './certificate.ts';
import { type Description, machineFromJson } from './description.ts';
import { type Installation, type InstallationUser, openUser, readAddresses } from './open.ts';

/** Session of a user with an installation on this computer. */
export interface InstallationSession extends Session {
  readonly user: InstallationUser;
  readonly installation: Installation;
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
export async function openSession(options: InstallationSessionOptions): Promise<InstallationSession> {
  const { installation, user: name, ...others } = options;
  const { directory, directories, description, layout } = installation;
  const addresses = await readAddresses(layout);
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
  await takeNewerDirectory(session, directories);
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
 */
async function takeNewerDirectory({ api }: Session, file: DirectoryFile): Promise<void> {
  try {
    const newer = await api.newerDirectory(file.sequence);
    if (newer !== undefined) await file.offer(newer);
  } catch {
    // keep the current directory
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
