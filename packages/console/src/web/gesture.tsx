import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { identity } from './identity.ts';
import type { Identity } from './identity-shape.ts';
import type { Job } from './jobs.ts';
import { Failure } from './parts.tsx';
import { runJob, unlockFor } from './run-job.ts';
import { words } from './words.ts';
import type { Unlock } from './wrap.ts';

/**
 * A form that ends with one signature, or whose key another worker opens. Its button asks for the passkey; a browser without one asks for the passphrase in
 * the form.
 */
export function Signing({
  label,
  job,
  open,
  done,
  disabled = false,
  plain = false,
  children,
}: {
  readonly label: string;
  readonly job?: (identity: Identity) => Job;
  /** Takes what opens the key, instead of a job. */
  readonly open?: (unlock: Unlock) => void;
  readonly done?: (value: unknown) => void | Promise<void>;
  readonly disabled?: boolean;
  readonly plain?: boolean;
  readonly children?: ComponentChildren;
}) {
  const w = words.value;
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>();
  const [passphrase, setPassphrase] = useState('');
  const own = identity.value;
  if (own === undefined) return <p class="quiet">{w.noKeyHere}</p>;
  const sign = async () => {
    setBusy(true);
    setFailure(undefined);
    try {
      const unlock = await unlockFor(own, passphrase);
      setPassphrase('');
      if (open !== undefined) open(unlock);
      else if (job !== undefined) await done?.(await runJob(job(own), unlock));
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        void sign();
      }}
    >
      {children}
      {own.passkey !== undefined ? undefined : (
        <label>
          {w.passphrase}
          <input
            type="password"
            autocomplete="current-password"
            required
            value={passphrase}
            onInput={(event) => setPassphrase(event.currentTarget.value)}
          />
        </label>
      )}
      <button type="submit" class={plain ? 'plain' : ''} disabled={disabled || busy}>
        {busy ? w.signing : label}
      </button>
      {failure === undefined ? undefined : <Failure error={failure} />}
    </form>
  );
}
