import { join } from 'node:path';
import { type Bytes, systemClock, systemRandom, toHex } from '@millrace/base';
import { joinInstallation, openInstallation, openSession } from '@millrace/cli/parts';
import { createOrganisation, enrol, inviteMember, type Session } from '@millrace/client';
import { generateUserKey, keyName, type MemorySigner, type Signer } from '@millrace/identity';
import {
  encodeCredential,
  type OrganisationKind,
  type PersonRole,
  proveInvitation,
  signTransaction,
  type Transaction,
} from '@millrace/protocol';
import type { HostileInstallation } from './hostile-installation.ts';

const DAY = 86_400_000;

/** An organisation that the administrator has created, with the signed registration. */
export interface TestOrganisation {
  readonly organisation: string;
  readonly name: string;
  readonly document: Uint8Array;
}

export async function addOrganisation(
  system: Pick<HostileInstallation, 'admin' | 'nodes'>,
  name: string,
  kind: OrganisationKind,
): Promise<TestOrganisation> {
  const organisation = await createOrganisation(system.admin, { name, kinds: [kind] });
  const { document } = await system.nodes.control.context.records.organisations.require(organisation);
  return { organisation, name, document };
}

/** A person with a computer of their own: enrols by an invitation and returns the session. The caller closes it. */
export async function joined(
  system: HostileInstallation,
  { organisation }: TestOrganisation,
  name: string,
  ...roles: readonly PersonRole[]
): Promise<Session> {
  const { directory, directories } = system.installation;
  const invited = await inviteMember(system.admin, { organisation, name, roles }, { days: 1, keyDays: 30 });
  const home = join(system.scratch, `${name} ${toHex(systemRandom(4))}`);
  const { installation, adminKey } = directory;
  const { secret } = invited;
  const where = { installation, adminKey, directory: directories.sequence, addresses: system.addresses };
  const clocks = { clock: systemClock, random: systemRandom };
  await joinInstallation({
    ...{ home, reference: where, user: 'me', ...clocks },
    enrol: (enrolling, sealingKey) => enrol(enrolling, secret, { name: 'laptop', sealingKey }),
  });
  return openSession({ installation: await openInstallation(home), user: 'me', ...clocks });
}

/** A key with real credentials, of which no node has heard. */
export interface Member {
  readonly signer: MemorySigner;
  readonly credential: Bytes;
}

/** Enrols a key without control, as two parties with real keys can. @param daysLeft negative for a key that has expired */
export async function enrolledOffline(
  { installation, admin }: Pick<HostileInstallation, 'installation' | 'admin'>,
  { organisation, document }: TestOrganisation,
  roles: readonly PersonRole[],
  { daysLeft = 30, inviter = admin.signer }: { readonly daysLeft?: number; readonly inviter?: Signer } = {},
): Promise<Member> {
  const signer = generateUserKey();
  const invitation = generateUserKey();
  const now = systemClock.now();
  const issued = now - 10 * DAY;
  const sign = (by: Signer, body: object) => {
    const common = { id: systemRandom(16), issued, expires: issued + DAY };
    return signTransaction(by, installation.directory.installation, { ...common, ...body } as Transaction);
  };
  const invited = await sign(inviter, {
    type: 'member.invite',
    organisation,
    person: toHex(systemRandom(16)),
    name: `member as ${roles.join(' and ')}`,
    roles: [...roles],
    invitation: invitation.publicKey,
    until: now + daysLeft * DAY,
  });
  const enrolment = await sign(signer, {
    type: 'key.enrol',
    invitation: keyName(invitation.publicKey),
    publicKey: signer.publicKey,
    device: 'laptop',
    proof: await proveInvitation(invitation, installation.directory.installation, signer.publicKey),
  });
  return { signer, credential: encodeCredential([enrolment, invited, document]) };
}
