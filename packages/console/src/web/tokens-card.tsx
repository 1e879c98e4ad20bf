import type { TokenView } from '@millrace/api';
import type { NewToken } from '@millrace/client';
import { type TokenScope, tokenScopes } from '@millrace/protocol/shapes';
import { useState } from 'preact/hooks';
import { Choices, Days, NameField } from './fields.tsx';
import { Signing } from './gesture.tsx';
import { Card, Facts } from './parts.tsx';
import { peopleWords } from './people-words.ts';
import { session } from './session.ts';
import { ShownOnce } from './shown-once.tsx';
import { formatTime } from './words.ts';

/** API tokens of the person, or of everybody in the organisation. */
export function TokensCard({
  tokens,
  mayRevokeAll,
  again,
}: {
  readonly tokens: readonly TokenView[];
  readonly mayRevokeAll: boolean;
  readonly again: () => void;
}) {
  const w = peopleWords.value;
  return (
    <Card title={w.tokens}>
      <p>{w.tokensText}</p>
      {tokens.length === 0 ? <p>{w.noTokens}</p> : undefined}
      {tokens.map((token) => (
        <OneToken
          key={token.token}
          token={token}
          mayRevoke={mayRevokeAll || token.key === session.view.value?.key}
          again={again}
        />
      ))}
      <NewTokenForm done={again} />
    </Card>
  );
}

function OneToken({
  token: { token, prefix, name, scopes, by, until, lastUsed, revoked },
  mayRevoke,
  again,
}: {
  readonly token: TokenView;
  readonly mayRevoke: boolean;
  readonly again: () => void;
}) {
  const w = peopleWords.value;
  const state = revoked !== undefined ? w.revoked(formatTime(revoked.at)) : until < Date.now() ? w.expired : w.valid;
  const counts = revoked === undefined && until >= Date.now();
  return (
    <div class="key" data-token={name} data-token-state={counts ? 'valid' : 'ended'}>
      <p>
        <span class={`badge ${counts ? 'completed' : 'failed'}`}>{state}</span> {name}{' '}
        <span class="mono quiet">{prefix}…</span>
      </p>
      <Facts
        rows={[
          [w.scopes, scopes.join(', ')],
          [w.by, by],
          [w.validUntil, formatTime(until)],
          [w.lastUsed, lastUsed === undefined ? w.never : formatTime(lastUsed)],
        ]}
      />
      {counts && mayRevoke ? (
        <details>
          <summary>{w.revoke} …</summary>
          <Signing
            label={w.revoke}
            plain
            job={(identity) => ({ type: 'revoke-token', identity, token })}
            done={again}
          />
        </details>
      ) : undefined}
    </div>
  );
}

function NewTokenForm({ done }: { readonly done: () => void }) {
  const w = peopleWords.value;
  const [name, setName] = useState('');
  const [scopes, setScopes] = useState<readonly TokenScope[]>([]);
  const [days, setDays] = useState(30);
  const [made, setMade] = useState<NewToken>();
  return (
    <details>
      <summary>{w.tokenTitle} …</summary>
      <Signing
        label={w.createToken}
        disabled={scopes.length === 0}
        job={(identity) => ({ type: 'create-token', identity, name, scopes, days })}
        done={(value) => {
          setMade(value as NewToken);
          done();
        }}
      >
        <NameField label={w.name} value={name} set={setName} />
        <Choices label={w.scopes} of={tokenScopes} chosen={scopes} choose={setScopes} />
        <Days label={w.tokenDays} value={days} most={366} set={setDays} />
      </Signing>
      {made === undefined ? undefined : (
        <div class="notice after" role="status">
          <p>{w.tokenShown}</p>
          <ShownOnce label={w.token} text={made.text} />
        </div>
      )}
    </details>
  );
}
