import { signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { Signing } from './gesture.tsx';
import { openedAt } from './run-job.ts';
import { session } from './session.ts';

/** An export needs that the person has opened the key of this browser within this time, ms. */
const RECENT_MS = 5 * 60_000;

/** Changes when a recent gesture becomes an old one. */
const now = signal(Date.now());

/**
 * A button for what only reads, but takes much away: an export. Unless the person has opened the key within five
 * minutes, it asks for the passkey and signs in again, so that an unattended page gives nothing away.
 */
export function Confirmed({
  label,
  act,
  children,
}: {
  readonly label: string;
  readonly act: () => void | Promise<void>;
  readonly children?: ComponentChildren;
}) {
  const left = openedAt.value + RECENT_MS - Math.max(now.value, Date.now());
  useEffect(() => {
    if (left <= 0) return;
    const timer = setTimeout(() => {
      now.value = Date.now();
    }, left);
    return () => clearTimeout(timer);
  }, [left > 0, openedAt.value]);
  if (left > 0)
    return (
      <button type="button" class="plain" onClick={() => void (openedAt.value + RECENT_MS > Date.now() && act())}>
        {label}
      </button>
    );
  return (
    <Signing
      label={label}
      plain
      job={(identity) => ({ type: 'sign-in', identity })}
      done={async () => {
        await session.check();
        await act();
      }}
    >
      {children}
    </Signing>
  );
}
