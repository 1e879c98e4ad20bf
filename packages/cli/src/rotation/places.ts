import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileExists } from '@millrace/base';
import { isIssuedBy } from '@millrace/identity';
import type { NodeRole } from '@millrace/protocol';
import { machineFiles, nodeFiles, nodeIdOf, nodeRoles, userFiles } from '../installation/layout.ts';
import type { Installation } from '../installation/open.ts';

interface NodeParty {
  readonly role: NodeRole;
  readonly id: string;
}

/** A party with a TLS certificate in its folder. */
export interface Place {
  readonly party: NodeParty | { readonly role: 'user' | 'machine'; readonly name: string };
  /** Name for display. */
  readonly name: string;
  readonly folder: string;
  readonly certificate: string;
}

/** The nodes in the folder of the installation; none if each is on a host of its own. */
export function nodePlaces({ layout }: Pick<Installation, 'layout'>): (Place & { readonly party: NodeParty })[] {
  const here = nodeRoles.filter((role) => existsSync(join(layout.node(role), nodeFiles.settings)));
  return here.map((role) => ({
    party: { role, id: nodeIdOf(role) },
    name: role,
    folder: layout.node(role),
    certificate: nodeFiles.certificate,
  }));
}

export function userPlaces({ layout, description }: Pick<Installation, 'layout' | 'description'>): Place[] {
  return description.users.map(({ name, user }) => ({
    party: { role: 'user', name: user },
    name,
    folder: layout.user(name),
    certificate: userFiles.certificate,
  }));
}

export function machinePlaces({ layout, description }: Pick<Installation, 'layout' | 'description'>): Place[] {
  const here = description.machines.filter(({ elsewhere }) => elsewhere !== true);
  return here.map(({ name, registration }) => ({
    party: { role: 'machine', name: registration.machine },
    name,
    folder: layout.machine(name),
    certificate: machineFiles.certificate,
  }));
}

export function allPlaces(installation: Pick<Installation, 'layout' | 'description'>): Place[] {
  return [...nodePlaces(installation), ...machinePlaces(installation), ...userPlaces(installation)];
}

/**
 * Parties whose certificates are on this computer. A user or machine may have moved to another computer with its
 * folder. Leaves out enrolled people: control renews their certificates when they use them, unless the key was revoked.
 */
export async function placesHere(
  installation: Pick<Installation, 'layout' | 'description' | 'directory'>,
): Promise<Place[]> {
  const { userAuthority } = installation.directory;
  const here: Place[] = [];
  for (const place of allPlaces(installation)) {
    if (!(await fileExists(certificateOf(place)))) continue;
    const certificate = await readFile(certificateOf(place), 'utf8');
    if (userAuthority === undefined || !isIssuedBy(certificate, userAuthority)) here.push(place);
  }
  return here;
}

export const certificateOf = ({ folder, certificate }: Place): string => join(folder, certificate);
