import { toBase64 } from '@millrace/base';
import type { ComponentChildren } from 'preact';
import { useId, useState } from 'preact/hooks';
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
  const id = useId();
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
        <label for={`${id}-device`}>{w.device}</label>
        <input
          id={`${id}-device`}
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
            <label for={`${id}-passphrase`}>{w.newPassphrase}</label>
            <input
              id={`${id}-passphrase`}
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
    </>
  );
}
