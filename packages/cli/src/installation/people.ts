import { type Clock, type RandomSource, wipe } from '@millrace/base';
import { createOrganisation, enrol, inviteMember, type Session } from '@millrace/client';
import type { OrganisationKind, PersonRole } from '@millrace/protocol';
import { joinInstallation } from './join.ts';
import { type Installation, openInstallation } from './open.ts';
import { referenceOf } from './reference.ts';
import { openSession } from './session.ts';

interface FirstPerson {
  /** Name of the folder on this computer. */
  readonly user: string;
  readonly name: string;
  readonly roles: readonly PersonRole[];
  /** Folder of who invites. Default: the administrator. */
  readonly invitedBy?: string;
}

interface FirstOrganisation {
  readonly name: string;
  readonly kind: OrganisationKind;
  readonly people: readonly FirstPerson[];
}

/** A brand and a bureau to begin with, and their people. Real ones are invited by `millrace user invite`. */
export const firstOrganisations: readonly FirstOrganisation[] = [
  {
    name: 'First Brand',
    kind: 'brand',
    people: [
      { user: 'brand-admin', name: 'Ada', roles: ['owner-admin'] },
      { user: 'owner', name: 'Dora', roles: ['designer'], invitedBy: 'brand-admin' },
      { user: 'auditor', name: 'Alex', roles: ['auditor'], invitedBy: 'brand-admin' },
    ],
  },
  {
    name: 'First Bureau',
    kind: 'bureau',
    people: [{ user: 'operator', name: 'Otto', roles: ['owner-admin', 'operator'] }],
  },
];

const INVITATION_DAYS = 1;
const KEY_DAYS = 365;

interface EnrolOptions {
  readonly installation: Installation;
  readonly admin: Session;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Enrols the first people of a new installation on this computer, by invitations like everybody else's. People who are
 * enrolled are left alone, so an interrupted start is completed by the next one.
 */
export async function enrolFirstPeople(options: EnrolOptions): Promise<void> {
  const { installation, admin, signal } = options;
  if (installation.description.firstPeople !== true) return;
  const { home } = installation.layout;
  for (const { name, kind, people } of firstOrganisations) {
    for (const person of people) {
      signal?.throwIfAborted();
      const now = await openInstallation(home);
      if (now.description.users.some(({ name: user }) => user === person.user)) continue;
      const organisation = await organisationNamed(admin, name, kind);
      await enrolPerson({ ...options, installation: now }, organisation, person);
    }
  }
}

async function organisationNamed(admin: Session, name: string, kind: OrganisationKind): Promise<string> {
  const known = (await admin.api.organisations()).find((view) => view.name === name);
  return known?.organisation ?? createOrganisation(admin, { name, kinds: [kind] });
}

async function enrolPerson(options: EnrolOptions, organisation: string, person: FirstPerson): Promise<void> {
  const { installation, admin, clock, random, signal } = options;
  const { user, name, roles, invitedBy } = person;
  const inviter =
    invitedBy === undefined ? admin : await openSession({ installation, user: invitedBy, clock, random, signal });
  try {
    const terms = { days: INVITATION_DAYS, keyDays: KEY_DAYS };
    const { secret } = await inviteMember(inviter, { organisation, name, roles }, terms);
    try {
      const reference = await referenceOf(installation);
      const { home } = installation.layout;
      await joinInstallation({
        ...{ home, reference, user, clock, random },
        enrol: (enrolling, sealingKey) => enrol(enrolling, secret, { name: 'first computer', sealingKey }),
      });
    } finally {
      wipe(secret);
    }
  } finally {
    if (inviter !== admin) inviter.close();
  }
}
