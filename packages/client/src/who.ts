import { MillraceError } from '@millrace/base';
import { type Credential, ignoringRevocations } from '@millrace/protocol';
import { verifyKeyView, verifyOrganisation } from './people.ts';
import type { Session } from './session.ts';

/** Names of keys and parties, for display. */
export interface Names {
  /** "Dora (Brand)" for a user's key; a contact's name, or the key itself, for other keys. */
  key(key: string): Promise<string>;
  /** The name of an organisation, or of a key without one. */
  party(party: string): Promise<string>;
}

/**
 * Looks up names. Control shows the documents; each name is verified to the administrator's key, so control cannot give
 * a key another name. Looks each key up once.
 */
export function createNames(session: Session): Names {
  const { api, contacts, directory } = session;
  const keys = new Map<string, Promise<string>>();
  const known = (name: string) =>
    contacts.machines.find(({ machine }) => machine === name)?.name ??
    contacts.users.find(({ user }) => user === name)?.name;
  let organisations: Promise<ReadonlyMap<string, string>> | undefined;
  const names: Names = {
    key: (key) => {
      const found = keys.get(key) ?? nameOf(key);
      keys.set(key, found);
      return found;
    },
    party: async (party) => {
      organisations ??= organisationNames();
      return (await organisations).get(party) ?? names.key(party);
    },
  };
  return names;

  async function nameOf(key: string): Promise<string> {
    // Machines, nodes and other signers are no users.
    if (!/^[0-9a-f]{32}$/.test(key)) return key;
    try {
      const credential = await verifyKeyView({ directory: ignoringRevocations(directory) }, await api.key(key));
      return textOf(credential);
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') return known(key) ?? key;
      throw error;
    }
  }

  async function organisationNames(): Promise<ReadonlyMap<string, string>> {
    const verified = await Promise.all((await api.organisations()).map((view) => verifyOrganisation(view, directory)));
    return new Map(verified.map(({ organisation, name }) => [organisation, name]));
  }
}

function textOf({ name, member }: Credential): string {
  return member === undefined ? name : `${name} (${member.organisationName})`;
}
