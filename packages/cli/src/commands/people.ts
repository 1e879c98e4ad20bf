import { fromBase64, fromHex, MillraceError, wipe } from '@millrace/base';
import {
  createNames,
  createOrganisation,
  formatInvitation,
  type InvitationView,
  inviteDevice,
  inviteMember,
  type KeyView,
  type Names,
  type NewInvitation,
  type OrganisationView,
  organisationNames,
  pick,
  revoke,
  verifyKeyView,
} from '@millrace/client';
import { keyName } from '@millrace/identity';
import { credentialDocuments, isSignIn, organisationKinds, personRoles } from '@millrace/protocol';
import { referenceOf } from '../installation/reference.ts';
import type { InstallationSession } from '../installation/session.ts';
import { commandName } from '../output/command-name.ts';
import { formatTable } from '../output/format.ts';
import { type Context, oneOf, wholeNumber, withSession } from './context.ts';

export function createOrg(context: Context, name: string, options: { kind: readonly string[] }): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const kinds = options.kind.map((kind) => oneOf('--kind', kind, organisationKinds));
    const organisation = await createOrganisation(session, { name, kinds });
    context.terminal.result(
      { organisation, name, kinds },
      [
        `Organisation ${organisation} (${name}) is created.`,
        `Invite its first person with \`${commandName} user invite NAME --org ${organisation} --role owner-admin\`.`,
      ].join('\n'),
    );
  });
}

export function listOrgs(context: Context): Promise<void> {
  return withSession(context, 'admin', async ({ api }) => {
    const organisations = await api.organisations();
    context.terminal.result(
      { organisations },
      organisations.length === 0
        ? 'No organisations yet.'
        : formatTable(
            ['organisation', 'name', 'kinds', 'created'],
            organisations.map(({ organisation, name, kinds, created }) => [
              organisation,
              name,
              kinds.join(', '),
              dayOf(created),
            ]),
          ),
    );
  });
}

export function showOrg(context: Context, wanted: string): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const organisation = await organisationOf(session, wanted);
    const keys = await session.api.organisationKeys(organisation.organisation);
    for (const key of keys) if (key.revoked === undefined) await verifyKeyView(session, key);
    context.terminal.result(
      { ...organisation, keys },
      [
        `${organisation.name} (${organisation.organisation}): ${organisation.kinds.join(', ')}`,
        await tableOf(session, keys),
      ].join('\n'),
    );
  });
}

interface Terms {
  readonly days: string;
  readonly keyDays: string;
}

const termsOf = ({ days, keyDays }: Terms) => ({
  days: wholeNumber(days, '--days', 1, 90),
  keyDays: wholeNumber(keyDays, '--key-days', 1, 3_650),
});

export function inviteUser(
  context: Context,
  name: string,
  options: Terms & { readonly org?: string; readonly role: readonly string[]; readonly person?: string },
): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const { organisation, name: organisationName } = await organisationOf(session, options.org);
    const roles = options.role.map((role) => oneOf('--role', role, personRoles));
    const member = { organisation, name, roles, person: options.person };
    const invitation = await inviteMember(session, member, termsOf(options));
    await show(context, session, invitation, `${name} is invited to ${organisationName} as ${roles.join(', ')}.`);
  });
}

export function addDevice(context: Context, options: Terms): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const invitation = await inviteDevice(session, termsOf(options));
    await show(context, session, invitation, 'Another device of yours is invited.');
  });
}

/** Shows the secret. It is not shown again. */
async function show(
  context: Context,
  { installation }: InstallationSession,
  { invitation, secret, expires }: NewInvitation,
  text: string,
): Promise<void> {
  const invited = formatInvitation({ ...(await referenceOf(installation)), secret });
  wipe(secret);
  context.terminal.result(
    { invitation, text: invited, expires },
    [
      text,
      `Give this text to nobody else, over a channel that you trust; it is shown once and works once, until ${dayOf(expires)}:`,
      '',
      invited,
      '',
      `There: \`${commandName} login --home FOLDER\`, and paste it.`,
    ].join('\n'),
  );
}

export function listUsers(context: Context, options: { readonly org?: string }): Promise<void> {
  return withSession(context, 'admin', async (session) => {
    const { organisation } = await organisationOf(session, options.org);
    const keys = await session.api.organisationKeys(organisation);
    const invitations = await session.api.organisationInvitations(organisation);
    const open = invitations.filter((invitation) => isOpen(invitation, context.clock.now()));
    const names = createNames(session);
    const inviters = await Promise.all(open.map(({ invitedBy }) => inviterOf(session, names, invitedBy)));
    const waiting = open.map(({ invitation, name, roles, invitedBy, expires }, i) => [
      invitation,
      name,
      roles.join(', '),
      inviters[i] ?? invitedBy,
      `until ${dayOf(expires)}`,
    ]);
    context.terminal.result(
      { organisation, keys, invitations },
      [
        keys.length === 0 ? 'Nobody is enrolled yet.' : await tableOf(session, keys),
        ...(waiting.length === 0
          ? []
          : ['', formatTable(['invitation', 'name', 'roles', 'invited by', 'open'], waiting)]),
      ].join('\n'),
    );
  });
}

export function revokeUser(
  context: Context,
  who: string,
  options: { readonly org?: string; readonly keep: string },
): Promise<void> {
  const keep = oneOf('--keep', options.keep, ['all', 'none'] as const);
  return withSession(context, 'admin', async (session) => {
    const { organisation } = await organisationOf(session, options.org);
    const all = await session.api.organisationKeys(organisation);
    const keys = all.filter(({ revoked }) => revoked === undefined);
    const open = (await session.api.organisationInvitations(organisation)).filter(
      ({ usedBy, revoked }) => usedBy === undefined && !revoked,
    );
    const named = namedBy(who, keys, open);
    const ofPerson = all.filter((key) => key.person === who && isSignedIn(key));
    const persons = ofPerson.length === 0 ? [] : [{ person: who, keys: ofPerson }];
    const { sequence, revoked } = await revoke(session, { ...named, persons, keeps: () => keep === 'all' });
    const lines = revoked.flatMap(({ key, kept }) => [
      `Revoked ${key}: what it signs from now on counts nowhere.`,
      ...kept.map(({ type, about }) => `  still counts: ${type} ${about}`),
    ]);
    context.terminal.result({ organisation, sequence, revoked }, lines.join('\n'));
  });
}

/** A person stands for all their keys and open invitations; otherwise `who` names one key or one invitation. */
function namedBy(who: string, keys: readonly KeyView[], invitations: readonly InvitationView[]) {
  const ofPerson = {
    keys: keys.filter(({ person }) => person === who),
    invitations: invitations.filter(({ person }) => person === who),
  };
  if (ofPerson.keys.length + ofPerson.invitations.length > 0) return ofPerson;
  const things = [
    ...keys.map((key) => ({ id: key.key, name: key.name, keys: [key], invitations: [] })),
    ...invitations.map((one) => ({ id: one.invitation, name: one.name, keys: [], invitations: [one] })),
  ];
  const { keys: picked, invitations: open } = pick<(typeof things)[number]>(
    'key, person or invitation',
    who,
    things,
    (thing) => [thing.id, thing.name],
  );
  return { keys: picked, invitations: open };
}

/** Whether the key was enrolled by company sign-in. */
const isSignedIn = ({ credential }: KeyView): boolean =>
  isSignIn(credentialDocuments(fromBase64(credential))[0] ?? new Uint8Array());

const isOpen = ({ usedBy, revoked, expires }: InvitationView, now: number): boolean =>
  usedBy === undefined && !revoked && expires > now;

/** The organisation named, by default the user's own. @throws {MillraceError} E_INPUT, E_NOT_FOUND */
export async function organisationOf(
  session: InstallationSession,
  wanted: string | undefined,
): Promise<OrganisationView> {
  const { api, signer } = session;
  const organisations = await api.organisations();
  if (wanted !== undefined) return pick('organisation', wanted, organisations, organisationNames);
  const own = await api.key(keyName(signer.publicKey)).catch(() => undefined);
  const found = organisations.find(({ organisation }) => organisation === own?.organisation);
  if (found === undefined) throw new MillraceError('E_INPUT', 'you belong to no organisation: name one with --org');
  return found;
}

/** Who signed an invitation. The administrator has no credential. */
async function inviterOf({ directory }: InstallationSession, names: Names, key: string): Promise<string> {
  return key === keyName(fromHex(directory.adminKey)) ? 'the administrator' : names.key(key);
}

async function tableOf(session: InstallationSession, keys: readonly KeyView[]): Promise<string> {
  const names = createNames(session);
  const inviters = await Promise.all(
    keys.map(async ({ invitedBy }) => (invitedBy === undefined ? '-' : inviterOf(session, names, invitedBy))),
  );
  return formatTable(
    ['key', 'name', 'person', 'roles', 'device', 'invited by', 'state'],
    keys.map(({ key, name, person, roles, device, until, revoked }, i) => [
      key,
      name,
      person ?? '-',
      (roles ?? []).join(', '),
      device ?? '-',
      inviters[i] ?? '-',
      revoked === undefined ? `until ${dayOf(until ?? 0)}` : `revoked ${dayOf(revoked.at)}`,
    ]),
  );
}

const dayOf = (time: number): string => new Date(time).toISOString().slice(0, 10);
