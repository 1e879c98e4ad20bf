import { type Bytes, concatBytes, fromHex, MillraceError, wipe } from '@millrace/base';
import { hold } from '@millrace/live-matrix';
import { identitiesOf, openPackageKey, openRelease, type ReleasingRole } from '@millrace/protocol';
import { HASH_BYTES, KEY_BYTES } from '@millrace/vault';
import type { Feed } from '../feed.ts';
import type { AgentParts } from '../parts.ts';
import type { PermittedSession } from '../permit.ts';
import type { PrintProgress } from '../progress.ts';
import { type OpenPackage, openOwnShares } from './check-package.ts';
import type { SealedReleases } from './releases.ts';

/** Segments that are read ahead of the machine. */
const AHEAD = 8;

/** A package for which an object may be made. */
export interface PermittedPackage extends OpenPackage {
  readonly permitted: PermittedSession;
  readonly releases: SealedReleases;
}

/**
 * The package's key, in memory for secrets: from the shares of the driver, the machine and both proactive nodes.
 * @throws {MillraceError} E_PACKAGE if the permit is for another package, E_SEAL
 */
async function keyOf(
  { config, secrets }: Pick<AgentParts, 'config' | 'secrets'>,
  { checked, driverKey, permitted, releases }: PermittedPackage,
): Promise<Uint8Array> {
  const { packaged, binding, licence } = checked;
  const { permit, ephemeral, openingHash } = permitted;
  if (permit.licence !== licence) throw new MillraceError('E_PACKAGE', 'the permit is for another job package');
  const release = (role: ReleasingRole) => {
    const senders = identitiesOf(config.directory, role).map(fromHex);
    return openRelease(ephemeral, senders, { role, openingHash }, releases[role]);
  };
  const opened: Bytes[] = [];
  const opening = async (share: Promise<Bytes>) => {
    const bytes = await share;
    opened.push(bytes);
    return bytes;
  };
  try {
    const [keys, segments] = [await opening(release('keys')), await opening(release('segments'))];
    const { driver, machine } = await openOwnShares({ config, driverKey }, packaged, binding);
    opened.push(driver, machine);
    return hold(secrets, openPackageKey({ driver, machine, keys, segments }, packaged, binding));
  } finally {
    wipe(...opened);
  }
}

/**
 * Passes the segments of a package to the feed, a few ahead of the machine. The feed compares each with the owner's
 * commitment and opens it. Memory does not depend on the size of the design but for 32 bytes a segment.
 * @throws {MillraceError} E_SEAL, E_PACKAGE; E_STORE if the file cannot be read any more
 */
export async function feedPackage(
  parts: Pick<AgentParts, 'config' | 'secrets'>,
  permitted: PermittedPackage,
  { feed, progress, signal }: { readonly feed: Feed; readonly progress: PrintProgress; readonly signal: AbortSignal },
): Promise<void> {
  const { secrets } = parts;
  const { file, hashes } = permitted.checked;
  const { core } = file;
  let wake: () => void = () => undefined;
  const onAbort = () => wake();
  const unwatch = feed.onTaken(() => wake());
  signal.addEventListener('abort', onAbort, { once: true });
  const key = await keyOf(parts, permitted);
  let ceks: Uint8Array = new Uint8Array();
  let first = 0;
  try {
    const secret = await file.designSecret(key);
    try {
      feed.open({ ...core, layer: 'none', designNonce: core.nonce }, core, secret);
    } finally {
      wipe(secret);
    }
    for (let number = 0; number < core.segments; number++) {
      while (number - progress.taken >= AHEAD) {
        signal.throwIfAborted();
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      signal.throwIfAborted();
      if (number === first + ceks.length / KEY_BYTES) {
        secrets.give(ceks);
        first = number;
        ceks = hold(secrets, await file.contentKeys(key, number));
      }
      const cek = ceks.subarray((number - first) * KEY_BYTES, (number - first + 1) * KEY_BYTES);
      // The feed wipes them.
      const keys = hold(secrets, concatBytes(new Uint8Array(KEY_BYTES), cek));
      const hash = hashes.subarray(number * HASH_BYTES, (number + 1) * HASH_BYTES);
      feed.push(await file.segment(number), keys, hash);
    }
  } finally {
    unwatch();
    signal.removeEventListener('abort', onAbort);
    secrets.give(key);
    if (ceks.length > 0) secrets.give(ceks);
  }
}
