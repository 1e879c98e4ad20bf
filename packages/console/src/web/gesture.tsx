import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { identity } from './identity.ts';
import type { Identity } from './identity-shape.ts';
import type { Job } from './jobs.ts';
import { Failure } from './parts.tsx';
import { runJob, unlockFor } from './run-job.ts';
import { words } from './words.ts';
import type { Unlock } from './wrap.ts';

/** Signing with the key of this browser. */
export interface Signatures {
  readonly own: Identity | undefined;
  readonly busy: boolean;
  readonly failure: unknown;
  readonly passphrase: string;
  readonly type: (passphrase: string) => void;
  /** Asks for the passkey, or takes the typed passphrase. A failure is shown by `SigningState`. */
  readonly sign: (job: (identity: Identity) => Job, done: (value: unknown) => void | Promise<void>) => Promise<void>;
  /** The same for a worker that opens the key itself. */
  readonly open: (use: (unlock: Unlock, own: Identity) => void | Promise<void>) => Promise<void>;
}

export function useSigning(own: Identity | undefined = identity.value): Signatures {
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>();
  const [passphrase, type] = useState('');
  const open: Signatures['open'] = async (use) => {
    if (own === undefined) return;
    setBusy(true);
    setFailure(undefined);
    try {
      const unlock = await unlockFor(own, passphrase);
      type('');
      await use(unlock, own);
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  };
  return {
    ...{ own, busy, failure, passphrase, type, open },
    sign: (job, done) => open(async (unlock, identity) => done(await runJob(job(identity), unlock))),
  };
}

/** The passphrase of a browser without a passkey, and what went wrong. */
export function SigningState({ signing }: { readonly signing: Signatures }) {
  const w = words.value;
  const { own, passphrase, type, failure } = signing;
  if (own === undefined) return <NoKey />;
  return (
    <>
      {own.passkey !== undefined ? undefined : (
        <label>
          {w.passphrase}
          <input
            type="password"
            autocomplete="current-password"
            required
            value={passphrase}
            onInput={(event) => type(event.currentTarget.value)}
          />
        </label>
      )}
      {failure === undefined ? undefined : <Failure error={failure} />}
    </>
  );
}

function NoKey() {
  const w = words.value;
  return (
    <p class="quiet">
      {w.noKeyHere} <a href="#/sign-in">{w.signIn}</a>
    </p>
  );
}

/**
 * A form that ends with one signature, or whose key another worker opens. Its button asks for the passkey; a browser
 * without one asks for the passphrase in the form.
 */
export function Signing({
  label,
  own,
  job,
  open,
  done,
  disabled = false,
  plain = false,
  children,
}: {
  readonly label: string;
  /** A key that the browser does not keep yet; otherwise that of this browser. */
  readonly own?: Identity;
  readonly job?: (identity: Identity) => Job;
  /** Takes what opens the key, instead of a job. */
  readonly open?: (unlock: Unlock) => void;
  readonly done?: (value: unknown) => void | Promise<void>;
  readonly disabled?: boolean;
  readonly plain?: boolean;
  readonly children?: ComponentChildren;
}) {
  const w = words.value;
  const signing = useSigning(own);
  if (signing.own === undefined) return <NoKey />;
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        if (open !== undefined) void signing.open((unlock) => open(unlock));
        else if (job !== undefined) void signing.sign(job, (value) => done?.(value));
      }}
    >
      {children}
      <SigningState signing={signing} />
      <button type="submit" class={plain ? 'plain' : ''} disabled={disabled || signing.busy}>
        {signing.busy ? w.signing : label}
      </button>
    </form>
  );
}
