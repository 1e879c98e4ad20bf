import { type PersonRole, personRoles } from '@millrace/protocol/shapes';
import { useState } from 'preact/hooks';
import { Choices, Days, NameField } from './fields.tsx';
import { Signing } from './gesture.tsx';
import type { InvitationText } from './people-jobs.ts';
import { peopleWords } from './people-words.ts';
import { ShownOnce } from './shown-once.tsx';
import { formatTime } from './words.ts';

const INVITE_DAYS = 7;
const KEY_DAYS = 365;

/** Invites somebody, or somebody known again: with other roles, or because a key expires. */
export function InviteForm({
  organisation,
  existing,
  done,
}: {
  readonly organisation: string;
  readonly existing?: { readonly person: string; readonly name: string; readonly roles: readonly PersonRole[] };
  readonly done: () => void;
}) {
  const w = peopleWords.value;
  const [name, setName] = useState(existing?.name ?? '');
  const [roles, setRoles] = useState<readonly PersonRole[]>(existing?.roles ?? []);
  const [days, setDays] = useState(INVITE_DAYS);
  const [keyDays, setKeyDays] = useState(KEY_DAYS);
  const [made, setMade] = useState<InvitationText>();
  return (
    <details class={existing === undefined ? 'card' : ''}>
      <summary>{existing === undefined ? w.inviteTitle : w.renew} …</summary>
      <Signing
        label={w.invite}
        disabled={roles.length === 0}
        job={(identity) => ({
          ...{ type: 'invite' as const, identity, organisation, name, roles, days, keyDays },
          ...(existing === undefined ? {} : { person: existing.person }),
        })}
        done={(value) => {
          setMade(value as InvitationText);
          done();
        }}
      >
        <NameField label={w.name} value={name} set={setName} />
        <Choices label={w.roles} of={personRoles} names={w.roleNames} chosen={roles} choose={setRoles} />
        <Days label={w.inviteDays} value={days} most={90} set={setDays} />
        <Days label={w.keyDays} value={keyDays} most={3_650} set={setKeyDays} />
      </Signing>
      {made === undefined ? undefined : <Made invitation={made} />}
    </details>
  );
}

export function AddDevice({ done }: { readonly done: () => void }) {
  const w = peopleWords.value;
  const [made, setMade] = useState<InvitationText>();
  return (
    <details class="card">
      <summary>{w.deviceTitle} …</summary>
      <p>{w.deviceText}</p>
      <Signing
        label={w.addDevice}
        job={(identity) => ({ type: 'add-device', identity, days: INVITE_DAYS, keyDays: KEY_DAYS })}
        done={(value) => {
          setMade(value as InvitationText);
          done();
        }}
      />
      {made === undefined ? undefined : <Made invitation={made} />}
    </details>
  );
}

/** The invitation, and the same as an address: a fragment, which no server sees. */
function Made({ invitation: { text, expires } }: { readonly invitation: InvitationText }) {
  const w = peopleWords.value;
  return (
    <div class="notice after" role="status">
      <p>
        {w.shownOnce} {w.worksUntil(formatTime(expires))}
      </p>
      <ShownOnce label={w.invitation} text={text} />
      <ShownOnce label={w.address} text={`${location.origin}/#/sign-in/${encodeURIComponent(text)}`} />
    </div>
  );
}
