import { toBase64 } from '@millrace/base';
import { useState } from 'preact/hooks';
import { Signing } from './gesture.tsx';
import { forgetIdentity, identity, keepIdentity } from './identity.ts';
import { identitySchema } from './identity-shape.ts';
import { Card, Failure } from './parts.tsx';
import { makePasskey, passkeysAreOffered } from './passkey.ts';
import { runJob } from './run-job.ts';
import { session } from './session.ts';
import { words } from './words.ts';
import type { Unlock } from './wrap.ts';

const LEAST_PASSPHRASE = 12;

async function signedIn(): Promise<void> {
  await session.check();
  // The invitation was in the address: it leaves the browser's history.
  location.replace('#/machines');
}

/** @param code an invitation from the address */
export function SignInPage({ code }: { readonly code: string | undefined }) {
  const w = words.value;
  const own = identity.value;
  return (
    <>
      <h1>{w.signIn}</h1>
      {own === undefined || code !== undefined ? undefined : (
        <Card title={w.welcomeBack(own.name)}>
          <p>{own.passkey === undefined ? w.signInPassphrase : w.signInPasskey}</p>
          <Signing label={w.signIn} job={(mine) => ({ type: 'sign-in', identity: mine })} done={signedIn} />
        </Card>
      )}
      {own !== undefined && code === undefined ? <Forget /> : <Enrol code={code ?? ''} />}
    </>
  );
}

function Forget() {
  const w = words.value;
  return (
    <details class="card">
      <summary>{w.forgetTitle}</summary>
      <p class="after">{w.forgetText}</p>
      <button type="button" class="plain" onClick={forgetIdentity}>
        {w.forget}
      </button>
    </details>
  );
}

function Enrol({ code }: { readonly code: string }) {
  const w = words.value;
  const [invitation, setInvitation] = useState(code);
  const [device, setDevice] = useState('');
  const [passphrase, setPassphrase] = useState('');
  const [withoutPasskey, setWithoutPasskey] = useState(!passkeysAreOffered());
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>();
  const enrol = async () => {
    setBusy(true);
    setFailure(undefined);
    try {
      const salt = crypto.getRandomValues(new Uint8Array(32));
      let unlock: Unlock;
      let passkey: string | undefined;
      if (withoutPasskey) unlock = { kind: 'passphrase', passphrase: new TextEncoder().encode(passphrase) };
      else {
        const made = await makePasskey(device, salt);
        if (made === undefined) return setWithoutPasskey(true);
        unlock = made.unlock;
        passkey = toBase64(made.id);
      }
      const job = { type: 'enrol', invitation: invitation.trim(), device, salt, passkey } as const;
      keepIdentity(identitySchema.parse(await runJob(job, unlock)));
      await signedIn();
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Card title={w.enrolTitle}>
      <p>{w.enrolText}</p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void enrol();
        }}
      >
        <label for="invitation">{w.invitation}</label>
        <textarea
          id="invitation"
          rows={4}
          required
          spellcheck={false}
          autocomplete="off"
          value={invitation}
          onInput={(event) => setInvitation(event.currentTarget.value)}
        />
        <label for="device">{w.device}</label>
        <input
          id="device"
          type="text"
          required
          maxLength={60}
          autocomplete="off"
          value={device}
          onInput={(event) => setDevice(event.currentTarget.value)}
        />
        {withoutPasskey ? (
          <>
            <p class="after">{w.noPasskey}</p>
            <label for="new-passphrase">{w.newPassphrase}</label>
            <input
              id="new-passphrase"
              type="password"
              required
              minLength={LEAST_PASSPHRASE}
              autocomplete="new-password"
              value={passphrase}
              onInput={(event) => setPassphrase(event.currentTarget.value)}
            />
          </>
        ) : undefined}
        <div class="row">
          <button type="submit" disabled={busy}>
            {busy ? w.signing : withoutPasskey ? w.enrolPassphrase : w.enrolPasskey}
          </button>
          {withoutPasskey ? undefined : (
            <button type="button" class="plain" onClick={() => setWithoutPasskey(true)}>
              {w.usePassphrase}
            </button>
          )}
        </div>
      </form>
      {failure === undefined ? undefined : <Failure error={failure} />}
    </Card>
  );
}
