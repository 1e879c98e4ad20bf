import type { InvitationView } from '@millrace/api';
import { useState } from 'preact/hooks';
import { Signing } from './gesture.tsx';
import { identity } from './identity.ts';
import { useLoaded } from './loaded.ts';
import { Card, Facts, Shown } from './parts.tsx';
import { type KeyState, type Person, readPeople } from './people-data.ts';
import { AddDevice, InviteForm } from './people-forms.tsx';
import { peopleWords } from './people-words.ts';
import { session } from './session.ts';
import { Table } from './table.tsx';
import { TokensCard } from './tokens-card.tsx';
import { WebhooksCard } from './webhooks-card.tsx';
import { formatCount, formatTime } from './words.ts';

const tones: Readonly<Record<KeyState, string>> = {
  valid: 'completed',
  expiresSoon: 'queued',
  expired: '',
  revoked: 'failed',
  unverified: 'failed',
};

/** People, keys, devices, API tokens and sign-ins of the person's organisation. */
export function PeoplePage() {
  const w = peopleWords.value;
  const view = session.view.value;
  const organisation = view?.organisation;
  const isOwnerAdmin = view?.roles?.includes('owner-admin') === true;
  const loaded = useLoaded(`people-${organisation}-${isOwnerAdmin}`, async () =>
    organisation === undefined ? null : readPeople(organisation, identity.value, isOwnerAdmin),
  );
  const { again } = loaded;
  return (
    <>
      <h1>{w.title}</h1>
      <p>{w.text}</p>
      <Shown loaded={loaded}>
        {(all) =>
          all === null || organisation === undefined ? (
            <p>{w.noOrganisation}</p>
          ) : (
            <>
              <div class="two">
                {all.people.map((person) => (
                  <OnePerson
                    key={person.person}
                    person={person}
                    organisation={organisation}
                    mayRevoke={isOwnerAdmin}
                    again={again}
                  />
                ))}
              </div>
              {isOwnerAdmin ? <InviteForm organisation={organisation} done={again} /> : undefined}
              <AddDevice done={again} />
              <OpenInvitations invitations={all.invitations} mayRevoke={isOwnerAdmin} again={again} />
              <TokensCard tokens={all.tokens} mayRevokeAll={isOwnerAdmin} again={again} />
              <WebhooksCard organisation={isOwnerAdmin ? organisation : undefined} />
              {all.signIns === undefined ? undefined : (
                <Card title={w.signIns}>
                  {all.signIns.length === 0 ? (
                    <p>{w.noSignIns}</p>
                  ) : (
                    <>
                      <p class="quiet small">{w.shownOf(formatCount(all.signIns.length))}</p>
                      <Table
                        label={w.signIns}
                        columns={[w.time, w.name, w.device, w.from, w.state]}
                        rows={all.signIns.map(({ at, name, device, address, refused }) => [
                          formatTime(at),
                          name,
                          device,
                          <span class="mono">{address}</span>,
                          refused ? w.refused : w.signedIn,
                        ])}
                      />
                    </>
                  )}
                </Card>
              )}
            </>
          )
        }
      </Shown>
    </>
  );
}

function OnePerson({
  person: { person, name, roles, keys },
  organisation,
  mayRevoke,
  again,
}: {
  readonly person: Person;
  readonly organisation: string;
  readonly mayRevoke: boolean;
  readonly again: () => void;
}) {
  const w = peopleWords.value;
  return (
    <section class="card machine" data-person={name}>
      <h2>{name}</h2>
      <p class="quiet small">{roles.join(', ')}</p>
      {keys.map(({ view, state }) => (
        <div key={view.key} class="key" data-key-state={state}>
          <p>
            <span class={`badge ${tones[state]}`}>
              {state === 'revoked' ? w.revoked(formatTime(view.revoked?.at ?? 0)) : w[state]}
            </span>{' '}
            {view.device} {view.key === session.view.value?.key ? <span class="quiet">({w.you})</span> : undefined}
          </p>
          <dl class="small">
            <dt>{w.key}</dt>
            <dd class="mono">{view.key}</dd>
            {view.until === undefined ? undefined : (
              <>
                <dt>{w.validUntil}</dt>
                <dd>{formatTime(view.until)}</dd>
              </>
            )}
          </dl>
          {!mayRevoke || view.revoked !== undefined ? undefined : (
            <Revoke keys={[view]} invitations={[]} again={again} />
          )}
        </div>
      ))}
      {mayRevoke ? (
        <InviteForm organisation={organisation} existing={{ person, name, roles }} done={again} />
      ) : undefined}
    </section>
  );
}

/** Asks once more, because nobody can undo it, then signs the next list of revoked keys. */
function Revoke({
  keys,
  invitations,
  again,
}: {
  readonly keys: Person['keys'][number]['view'][];
  readonly invitations: readonly InvitationView[];
  readonly again: () => void;
}) {
  const w = peopleWords.value;
  const [keep, setKeep] = useState(true);
  return (
    <details>
      <summary>{w.revoke} …</summary>
      <Signing
        label={w.revoke}
        plain
        job={(own) => ({ type: 'revoke', identity: own, keys, invitations, keep })}
        done={again}
      >
        {keys.length === 0 ? undefined : (
          <>
            <p class="small">{w.revokeText}</p>
            <label class="tick">
              <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.currentTarget.checked)} />{' '}
              {w.keep}
            </label>
          </>
        )}
      </Signing>
    </details>
  );
}

function OpenInvitations({
  invitations,
  mayRevoke,
  again,
}: {
  readonly invitations: readonly InvitationView[];
  readonly mayRevoke: boolean;
  readonly again: () => void;
}) {
  const w = peopleWords.value;
  return (
    <Card title={w.openInvitations}>
      {invitations.length === 0 ? <p>{w.noInvitations}</p> : undefined}
      {invitations.map((invitation) => (
        <div key={invitation.invitation} class="key" data-invitation={invitation.name}>
          <Facts
            rows={[
              [w.name, invitation.name],
              [w.roles, invitation.roles.join(', ')],
              [w.validUntil, formatTime(invitation.expires)],
            ]}
          />
          {mayRevoke ? <Revoke keys={[]} invitations={[invitation]} again={again} /> : undefined}
        </div>
      ))}
    </Card>
  );
}
