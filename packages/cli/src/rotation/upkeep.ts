import { type Closable, fileExists, MillraceError, toMillraceError } from '@millrace/base';
import { authorityDue, placesDue } from './expiry.ts';
import { DAY_MS, NOTICE_DAYS } from './names.ts';
import { type RotationOptions, renewCertificates, rotate } from './rotate.ts';

/**
 * Renews the certificates that expire within the notice. If the authority's certificate does, renews it and all others.
 * Keys are rotated only by people.
 * @returns a sentence for people, or undefined if nothing was due
 * @throws {MillraceError} E_CONFIG if something is due and the authority's key is not here
 */
export async function renewDue(options: RotationOptions): Promise<string | undefined> {
  const { installation, clock } = options;
  const now = clock.now();
  const whole = await authorityDue(installation, now);
  const places = whole ? [] : await placesDue(installation, now);
  if (!whole && places.length === 0) return undefined;
  if (!(await fileExists(installation.layout.authority.key))) {
    const names = whole ? 'the certificate authority' : places.map(({ name }) => name).join(', ');
    throw new MillraceError(
      'E_CONFIG',
      `certificates expire within ${NOTICE_DAYS} days (${names}), and the authority’s key is missing: put it back, then run \`millrace renew\``,
    );
  }
  if (whole) {
    await rotate('authority', options);
    return 'renewed the certificate authority and every certificate';
  }
  await renewCertificates(options, places);
  return `renewed the certificates of ${places.map(({ name }) => name).join(', ')}`;
}

/** Checks once a day while the installation runs. */
export function renewDaily(options: RotationOptions, say: (line: string) => void): Closable {
  let running: Promise<void> | undefined;
  const look = async () => {
    try {
      const done = await renewDue(options);
      if (done !== undefined) say(done);
    } catch (error) {
      if (options.signal?.aborted !== true) say(toMillraceError(error).message);
    }
    running = undefined;
  };
  const timer = setInterval(() => {
    running ??= look();
  }, DAY_MS);
  timer.unref();
  return {
    close: async () => {
      clearInterval(timer);
      await running;
    },
  };
}
