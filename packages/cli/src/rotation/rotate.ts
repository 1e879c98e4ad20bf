import { join } from 'node:path';
import { type Clock, MillraceError, type RandomSource, toHex, wipe, writeDurably } from '@millrace/base';
import { readBytes, writePublic } from '@millrace/client/node';
import { type Authority, createAuthority, generateP256Key, openAuthority } from '@millrace/identity';
import type { NodeRole } from '@millrace/protocol';
import { hostsOf } from '../installation/init.ts';
import { nodeFiles, nodeRoles } from '../installation/layout.ts';
import type { Installation } from '../installation/open.ts';
import { signPermitKey } from '../installation/permit-key.ts';
import { acquireLock } from '../supervisor/lock.ts';
import { accepting, ending, stagedNames } from './accept.ts';
import { eraseFormerLogKey, finishRotation } from './finish.ts';
import { DAY_MS, OVERLAP_DAYS, type Rotatable } from './names.ts';
import { nodePlaces, type Place, placesHere } from './places.ts';
import type { Processes } from './processes.ts';
import { publish, spread } from './publish.ts';
import { discard, exists, staged, stageSecret, stageTls } from './staged.ts';

export interface RotationOptions {
  readonly installation: Installation;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** How long what is replaced goes on being accepted; 0: until everything runs with the new. */
  readonly overlapDays?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Runs `work` as the only one that rotates keys of the installation. @throws {MillraceError} E_CONFLICT */
export async function asOnlyRotation<T>({ layout }: Installation, work: () => Promise<T>): Promise<T> {
  const lock = await acquireLock(join(layout.run.folder, 'rotation.lock'));
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

/**
 * Replaces keys: made and staged, then signed into the directory beside those in use, then put in their places.
 * @param roles of which nodes, for `tls` and `identity`
 * @returns the nodes that were started again
 */
export function rotate(
  what: Rotatable,
  options: RotationOptions & { readonly roles?: readonly NodeRole[] | undefined },
): Promise<NodeRole[]> {
  const { installation, clock, roles = nodeRoles } = options;
  const { layout } = installation;
  return asOnlyRotation(installation, async () => {
    await finishRotation(options);
    switch (what) {
      case 'tls': {
        const authority = await authorityOf(installation, clock);
        for (const place of nodePlaces(installation))
          if (roles.includes(place.party.role)) await stageCertificate(authority, place);
        break;
      }
      case 'identity':
        for (const role of roles) await stageP256(join(layout.node(role), nodeFiles.identity));
        break;
      case 'permit':
        await stagePermitKey(options);
        break;
      case 'log': {
        const secret = options.random(32);
        await stageSecret(join(layout.node('control'), nodeFiles.logKey), secret).finally(() => wipe(secret));
        break;
      }
      case 'authority':
        await stageAuthority(options);
    }
    return bringIn(options);
  });
}

/** Certificates that are due get new ones, with new keys. */
export function renewCertificates(options: RotationOptions, places: readonly Place[]): Promise<NodeRole[]> {
  const { installation, clock } = options;
  return asOnlyRotation(installation, async () => {
    await finishRotation(options);
    const authority = await authorityOf(installation, clock);
    for (const place of places) await stageCertificate(authority, place);
    return bringIn(options);
  });
}

/** What is staged counts from here on. */
async function bringIn(options: RotationOptions): Promise<NodeRole[]> {
  const { installation, processes, clock, overlapDays = OVERLAP_DAYS, signal } = options;
  // The old ones have to count until everything runs with the new ones.
  const overlapMs = Math.max(overlapDays, 1) * DAY_MS;
  const names = await stagedNames(installation);
  await publish(installation, clock, (document) => accepting(document, names, { now: clock.now(), overlapMs }));
  const restarted = await finishRotation(options);
  if (overlapDays === 0) {
    await publish(installation, clock, (document) => ending(document, names, clock.now()));
    await spread(installation, processes, clock, signal);
    await eraseFormerLogKey(installation, clock);
  }
  return restarted;
}

/** @throws {MillraceError} E_CONFIG when its key is not here */
export async function authorityOf({ layout }: Installation, clock: Clock): Promise<Authority> {
  if (!(await exists(layout.authority.key)))
    throw new MillraceError('E_CONFIG', `the key of the certificate authority is not in ${layout.authority.folder}`);
  const certificate = new TextDecoder().decode(await readBytes(layout.authority.certificate));
  return openAuthority({ certificate, key: await readBytes(layout.authority.key) }, () => clock.now());
}

async function stageCertificate(authority: Authority, place: Place): Promise<void> {
  await stageTls(place.folder, place.files, await authority.issue(place.party, hostsOf(place.party.role)));
}

/** With the administrator's word for it, which certificates carry. */
async function stagePermitKey({ installation, clock, random }: RotationOptions): Promise<void> {
  const { layout, directory } = installation;
  const folder = layout.node('control');
  await discard(join(folder, nodeFiles.permitKeyDocument));
  const permitKey = await stageP256(join(folder, nodeFiles.permitKey));
  const made = { installation: directory.installation, permitKey, now: clock.now(), random };
  await writeDurably(staged(join(folder, nodeFiles.permitKeyDocument)), await signPermitKey(layout, made), 0o644);
}

async function stageP256(path: string): Promise<string> {
  const key = generateP256Key();
  const secret = key.exportSecret();
  try {
    await stageSecret(path, secret);
    return toHex(key.publicKey);
  } finally {
    wipe(secret);
    key.close();
  }
}

/** Another authority, and a certificate of it for everybody. */
async function stageAuthority({ installation, clock, random }: RotationOptions): Promise<void> {
  const { layout, directory } = installation;
  // A name of its own: whoever looks for the issuer of a certificate looks by name.
  const name = `Millrace ${directory.installation.slice(0, 8)} ${toHex(random(4))}`;
  const authority = await createAuthority(name, clock.now());
  for (const place of await placesHere(installation)) await stageCertificate(authority, place);
  await stageSecret(layout.authority.key, authority.identity.key);
  wipe(authority.identity.key);
  await writePublic(staged(layout.authority.certificate), authority.identity.certificate);
}
