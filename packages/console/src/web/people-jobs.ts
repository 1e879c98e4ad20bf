import type { CaseView, InvitationView, KeyView } from '@millrace/api';
import { MillraceError, wipe } from '@millrace/base';
import {
  createToken,
  decideCase,
  formatInvitation,
  inviteDevice,
  inviteMember,
  type NewInvitation,
  type NewToken,
  revoke,
  revokeToken,
  type Session,
} from '@millrace/client';
import { addressesOf, type PersonRole, type TokenScope } from '@millrace/protocol';
import type { Identity } from './identity-shape.ts';

// Jobs of the key's worker for people, keys, API tokens and failure cases.

interface Invites {
  readonly identity: Identity;
  /** Validity of the invitation, and of the key that is enrolled with it, days. */
  readonly days: number;
  readonly keyDays: number;
}

export type PeopleJob =
  | (Invites & {
      readonly type: 'invite';
      readonly organisation: string;
      readonly name: string;
      readonly roles: readonly PersonRole[];
      /** An existing person whose key or roles are renewed. */
      readonly person?: string | undefined;
    })
  | (Invites & { readonly type: 'add-device' })
  | {
      readonly type: 'revoke';
      readonly identity: Identity;
      readonly keys: readonly KeyView[];
      readonly invitations: readonly InvitationView[];
      /** Whether what the keys have signed so far still counts. */
      readonly keep: boolean;
    }
  | {
      readonly type: 'create-token';
      readonly identity: Identity;
      readonly name: string;
      readonly scopes: readonly TokenScope[];
      readonly days: number;
    }
  | { readonly type: 'revoke-token'; readonly identity: Identity; readonly token: string }
  | {
      readonly type: 'decide-case';
      readonly identity: Identity;
      readonly view: CaseView;
      readonly credit: boolean;
      readonly note?: string | undefined;
    };

/** What the page gets for an invitation. It is shown once. */
export interface InvitationText {
  readonly text: string;
  readonly expires: number;
}

/**
 * @param session its `publishRevocations` has to reach control only: control passes the lists on
 * @param sequence number of the newest directory
 */
export async function performForPeople(
  job: PeopleJob,
  session: Session,
  sequence: number,
): Promise<InvitationText | NewToken | undefined> {
  switch (job.type) {
    case 'invite': {
      const { organisation, name, roles, person, days, keyDays } = job;
      const invited = await inviteMember(session, { organisation, name, roles, person }, { days, keyDays });
      return textOf(invited, job.identity, session, sequence);
    }
    case 'add-device': {
      const { days, keyDays } = job;
      return textOf(await inviteDevice(session, { days, keyDays }), job.identity, session, sequence);
    }
    case 'revoke': {
      const { keys, invitations, keep } = job;
      await revoke(session, { keys, invitations, keeps: () => keep });
      return undefined;
    }
    case 'create-token': {
      const { name, scopes, days } = job;
      return createToken(session, { name, scopes, days });
    }
    case 'revoke-token':
      await revokeToken(session, job.token);
      return undefined;
    case 'decide-case':
      await decideCase(session, job.view, { credit: job.credit, note: job.note });
      return undefined;
  }
}

/** The text holds the addresses of the nodes: the newest directory’s, else those with which this browser enrolled. */
function textOf(
  { secret, expires }: NewInvitation,
  { installation, adminKey, addresses }: Identity,
  { directory }: Session,
  sequence: number,
): InvitationText {
  const address = (role: 'control' | 'distribution') => {
    const [first] = addressesOf(directory, role, addresses && (() => addresses[role]));
    if (first !== undefined) return first;
    throw new MillraceError('E_STATE', 'this browser knows no addresses of the nodes: enrol it once more');
  };
  try {
    const at = { control: address('control'), distribution: address('distribution') };
    return { text: formatInvitation({ installation, adminKey, directory: sequence, addresses: at, secret }), expires };
  } finally {
    wipe(secret);
  }
}
