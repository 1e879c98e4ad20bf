import { everyPage, type WebhookMessageView, type WebhookView } from '@millrace/api';
import type { WebhookSecret } from '@millrace/client';
import { type ChangeKind, changeKinds } from '@millrace/protocol/shapes';
import { useState } from 'preact/hooks';
import { Choices, NameField } from './fields.tsx';
import { Signing } from './gesture.tsx';
import { useLoaded } from './loaded.ts';
import { Card, Facts, Shown } from './parts.tsx';
import { api } from './server.ts';
import { session } from './session.ts';
import { ShownOnce } from './shown-once.tsx';
import { Table } from './table.tsx';
import { webhookWords } from './webhook-words.ts';
import { formatCount, formatTime } from './words.ts';

const NEWEST = 20;

/** Webhooks of the person, or of everybody in the organisation. */
export function WebhooksCard({ organisation }: { readonly organisation: string | undefined }) {
  const w = webhookWords.value;
  const loaded = useLoaded(`webhooks-${organisation}`, () =>
    organisation === undefined
      ? everyPage((cursor) => api.webhooks.list({ cursor }))
      : everyPage((cursor) => api.organisations.webhooks({ id: organisation, cursor })),
  );
  return (
    <Card title={w.title}>
      <p>{w.text}</p>
      <Shown loaded={loaded}>
        {(webhooks) => (
          <>
            {webhooks.length === 0 ? <p>{w.none}</p> : undefined}
            {webhooks.map((webhook) => (
              <OneWebhook key={webhook.webhook} webhook={webhook} again={loaded.again} />
            ))}
          </>
        )}
      </Shown>
      <NewWebhookForm done={loaded.again} />
    </Card>
  );
}

function OneWebhook({ webhook: view, again }: { readonly webhook: WebhookView; readonly again: () => void }) {
  const w = webhookWords.value;
  const { webhook, name, url, kinds, key, by, off, failingSince, waiting, formerSecretUntil } = view;
  const state = off === undefined ? (failingSince === undefined ? 'on' : 'failing') : 'off';
  const said =
    off !== undefined
      ? w.off(formatTime(off.at))
      : failingSince === undefined
        ? w.on
        : w.failing(formatTime(failingSince));
  const tone = { on: 'completed', failing: 'queued', off: 'failed' }[state];
  return (
    <div class="key" data-webhook={name} data-webhook-state={state}>
      <p>
        <span class={`badge ${tone}`}>{said}</span> {name} <span class="mono quiet">{url}</span>
      </p>
      {off === undefined || off.reason === 'person' ? undefined : <p>{w.reasons[off.reason]}</p>}
      <Facts
        rows={[
          [w.kindsShort, kinds?.map((kind) => w.kindNames[kind]).join(', ') ?? w.all],
          [w.by, by],
          [w.waiting, formatCount(waiting)],
          [w.rotated, formerSecretUntil === undefined ? undefined : formatTime(formerSecretUntil)],
        ]}
      />
      <Messages webhook={webhook} />
      <Changes webhook={view} isOwn={key === session.view.value?.key} again={again} />
    </div>
  );
}

/** What was sent, read when somebody looks. */
function Messages({ webhook }: { readonly webhook: string }) {
  const w = webhookWords.value;
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{w.messages}</summary>
      {open ? <NewestMessages webhook={webhook} /> : undefined}
    </details>
  );
}

function NewestMessages({ webhook }: { readonly webhook: string }) {
  const w = webhookWords.value;
  const loaded = useLoaded(`webhook-${webhook}`, () => api.webhooks.messages({ id: webhook, limit: NEWEST }));
  const rowOf = ({ created, type, state, attempts, last }: WebhookMessageView) => [
    formatTime(created),
    <span class="mono">{type}</span>,
    w.states[state],
    formatCount(attempts),
    String(last?.status ?? last?.code ?? '–'),
  ];
  return (
    <Shown loaded={loaded}>
      {({ items }) =>
        items.length === 0 ? (
          <p>{w.noMessages}</p>
        ) : (
          <>
            <p class="quiet small">{w.newest(formatCount(items.length))}</p>
            <Table
              label={w.messages}
              columns={[w.created, w.type, w.state, w.attempts, w.answer]}
              rows={items.map(rowOf)}
            />
          </>
        )
      }
    </Shown>
  );
}

function Changes({
  webhook: { webhook, off },
  isOwn,
  again,
}: {
  readonly webhook: WebhookView;
  readonly isOwn: boolean;
  readonly again: () => void;
}) {
  const w = webhookWords.value;
  const [secret, setSecret] = useState<string>();
  const set = (label: string, state: 'on' | 'off' | 'deleted') => (
    <Signing label={label} plain job={(identity) => ({ type: 'set-webhook', identity, webhook, state })} done={again} />
  );
  return (
    <details>
      <summary>{w.change} …</summary>
      <div class="row">
        {isOwn && off === undefined ? (
          <Signing
            label={w.test}
            plain
            job={(identity) => ({ type: 'test-webhook', identity, webhook })}
            done={again}
          />
        ) : undefined}
        {isOwn ? (
          <Signing
            label={w.rotate}
            plain
            job={(identity) => ({ type: 'rotate-webhook', identity, webhook })}
            done={(made) => {
              setSecret((made as WebhookSecret).secret);
              again();
            }}
          />
        ) : undefined}
        {off === undefined ? set(w.disable, 'off') : set(w.enable, 'on')}
        {set(w.remove, 'deleted')}
      </div>
      {secret === undefined ? undefined : <SecretOnce secret={secret} />}
    </details>
  );
}

function SecretOnce({ secret }: { readonly secret: string }) {
  const w = webhookWords.value;
  return (
    <div class="notice after" role="status">
      <p>{w.shown}</p>
      <ShownOnce label={w.secret} text={secret} />
    </div>
  );
}

function NewWebhookForm({ done }: { readonly done: () => void }) {
  const w = webhookWords.value;
  const [name, setName] = useState('');
  const [url, setUrl] = useState('');
  const [kinds, setKinds] = useState<readonly ChangeKind[]>([]);
  const [secret, setSecret] = useState<string>();
  return (
    <details>
      <summary>{w.create} …</summary>
      <Signing
        label={w.sign}
        job={(identity) => ({
          ...{ type: 'create-webhook', identity, name, url },
          ...(kinds.length === 0 ? {} : { kinds }),
        })}
        done={(made) => {
          setSecret((made as WebhookSecret).secret);
          done();
        }}
      >
        <NameField label={w.name} value={name} set={setName} />
        <label>
          {w.address}
          <input
            type="url"
            required
            maxLength={1024}
            placeholder="https://"
            value={url}
            onInput={(event) => setUrl(event.currentTarget.value)}
          />
        </label>
        <Choices label={w.kinds} of={changeKinds} names={w.kindNames} chosen={kinds} choose={setKinds} />
      </Signing>
      {secret === undefined ? undefined : <SecretOnce secret={secret} />}
    </details>
  );
}
