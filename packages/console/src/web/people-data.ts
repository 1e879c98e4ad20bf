import { everyPage, type InvitationView, type KeyView } from '@millrace/api';
import { verifyKeyView } from '@millrace/client';
import type { Identity } from './identity-shape.ts';
import { api } from './server.ts';

const SOON_MS = 14 * 86_400_000;
const NEWEST_SIGN_INS = 50;

export type KeyState = 'valid' | 'expiresSoon' | 'expired' | 'revoked' | 'unverified';

/** The people of an organisation, each with all their keys; whoever has a valid key first. */
export interface Person {
  readonly person: string;
  readonly name: string;
  readonly roles: NonNullable<KeyView['roles']>;
  readonly keys: readonly { readonly view: KeyView; readonly state: KeyState }[];
}

const rank: Readonly<Record<KeyState, number>> = { valid: 0, expiresSoon: 0, unverified: 1, expired: 2, revoked: 3 };

/**
 * Groups keys by person. Control's word is not enough for a name: the credential of each key is verified.
 * @param proves whether the credential leads to the administrator's key
 */
export async function peopleOf(
  keys: readonly KeyView[],
  proves: (view: KeyView) => Promise<boolean>,
  now: number,
): Promise<Person[]> {
  const people = new Map<string, Person & { keys: { view: KeyView; state: KeyState }[] }>();
  for (const view of keys) {
    const { person = view.key, name, roles = [] } = view;
    const known = people.get(person) ?? { person, name, roles, keys: [] };
    known.keys.push({ view, state: await stateOf(view, proves, now) });
    people.set(person, known);
  }
  const best = ({ keys: [first] }: Person) => rank[first?.state ?? 'revoked'];
  const sorted = [...people.values()].map(({ keys: own, ...person }) => {
    own.sort((a, b) => rank[a.state] - rank[b.state] || (b.view.created ?? 0) - (a.view.created ?? 0));
    // The newest key that counts says what the person may do now.
    const { name = person.name, roles = person.roles } = own[0]?.view ?? {};
    return { ...person, name, roles, keys: own };
  });
  return sorted.sort((a, b) => best(a) - best(b) || a.name.localeCompare(b.name));
}

async function stateOf(view: KeyView, proves: (view: KeyView) => Promise<boolean>, now: number): Promise<KeyState> {
  if (view.revoked !== undefined) return 'revoked';
  if (!(await proves(view))) return 'unverified';
  const { until = Number.POSITIVE_INFINITY } = view;
  if (until < now) return 'expired';
  return until < now + SOON_MS ? 'expiresSoon' : 'valid';
}

export const isOpen = ({ usedBy, revoked, expires }: InvitationView, now: number) =>
  usedBy === undefined && !revoked && expires > now;

/** @param own the trust anchor of this browser; without one, nothing is proven */
export async function readPeople(organisation: string, own: Identity | undefined, isOwnerAdmin: boolean) {
  const id = organisation;
  const proves = async (view: KeyView) => {
    if (own === undefined) return false;
    return verifyKeyView({ directory: own }, view).then(
      () => true,
      () => false,
    );
  };
  const [keys, invitations, tokens, signIns] = await Promise.all([
    everyPage((cursor) => api.organisations.keys({ id, cursor })),
    everyPage((cursor) => api.organisations.invitations({ id, cursor })),
    isOwnerAdmin
      ? everyPage((cursor) => api.organisations.tokens({ id, cursor }))
      : everyPage((cursor) => api.tokens.list({ cursor })),
    isOwnerAdmin ? api.organisations.signIns({ id, limit: NEWEST_SIGN_INS }) : undefined,
  ]);
  const now = Date.now();
  return {
    people: await peopleOf(keys, proves, now),
    invitations: invitations.filter((invitation) => isOpen(invitation, now)),
    tokens,
    signIns: signIns?.items,
  };
}
