import type { Clock, RandomSource } from '@millrace/base';
import { type Contacts, createSession, type Session } from '@millrace/client';
import { type Description, machineFromJson } from './description.ts';
import { type Installation, openUser, readAddresses } from './open.ts';

/** A user of an installation on this computer at work. */
export interface InstallationSession extends Session {
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

/** @throws {MillraceError} E_UNAVAILABLE when nothing runs, E_NOT_FOUND, E_CONFIG */
export async function openSession(options: InstallationSessionOptions): Promise<InstallationSession> {
  const { installation, user, ...others } = options;
  const { directory, directories, description, layout } = installation;
  const addresses = await readAddresses(layout);
  const session = createSession({
    ...others,
    directory,
    refreshDirectory: () => directories.refresh(),
    addresses,
    user: await openUser(installation, user),
    contacts: contactsOf(description),
  });
  return { ...session, installation };
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
