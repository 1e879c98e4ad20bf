import { toBase64 } from '@millrace/base';
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { NameField } from './fields.tsx';
import { Failure } from './parts.tsx';
import { makePasskey, passkeysAreOffered } from './passkey.ts';
import { words } from './words.ts';
import type { Unlock } from './wrap.ts';

const LEAST_PASSPHRASE = 12;

/** What is to keep a new key of this browser. */
export interface NewKey {
  /** Name of this browser. */
  readonly device: string;
  readonly salt: Uint8Array<ArrayBuffer>;
  /** Identifier of the passkey, base64; undefined for a passphrase. */
  readonly passkey: string | undefined;
  readonly unlock: Unlock;
}

/** Asks for the name of this browser and makes the passkey, or takes a passphrase, for a new key. */
export function NewKeyForm({
  made,
  children,
}: {
  /** Makes the key. A failure is shown. */
  readonly made: (key: NewKey) => Promise<void>;
  readonly children?: ComponentChildren;
}) {
  const w = words.value;
  const [device, setDevice] = useState('');
  const [passphrase, setPassphrase] = useState('');
  const [withoutPasskey, setWithoutPasskey] = useState(!passkeysAreOffered());
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>();
  const make = async () => {
    setBusy(true);
    setFailure(undefined);
    try {
      const salt = crypto.getRandomValues(new Uint8Array(32));
      let unlock: Unlock;
      let passkey: string | undefined;
      if (withoutPasskey) unlock = { kind: 'passphrase', passphrase: new TextEncoder().encode(passphrase) };
      else {
        const key = await makePasskey(device, salt);
        if (key === undefined) return setWithoutPasskey(true);
        unlock = key.unlock;
        passkey = toBase64(key.id);
      }
      await made({ device, salt, passkey, unlock });
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void make();
        }}
      >
        {children}
        <NameField label={w.device} value={device} set={setDevice} />
        {withoutPasskey ? (
          <>
            <p class="after">{w.noPasskey}</p>
            <label>
              {w.newPassphrase}
              <input
                type="password"
                required
                minLength={LEAST_PASSPHRASE}
                autocomplete="new-password"
                value={passphrase}
                onInput={(event) => setPassphrase(event.currentTarget.value)}
              />
            </label>
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
    </>
  );
}
