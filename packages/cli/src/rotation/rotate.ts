import { join } from 'node:path';
import { type Clock, fileExists, MillraceError, type RandomSource, stageFile, toHex, wipe } from '@millrace/base';
import { readBytes } from '@millrace/client/node';
import {
  eraseFormerLogKey,
  stageCertificate,
  stageIdentity,
  stageLogKey,
  stagePermitKey,
  stageUserAuthority,
} from '@millrace/cloud/admin';
import { type Authority, createAuthority, openAuthority } from '@millrace/identity';
import { stageMachineCertificate } from '@millrace/machine/admin';
import { type NodeRole, stageTls } from '@millrace/protocol';
import { hostsOf } from '../installation/init.ts';
import { nodeRoles, userFiles } from '../installation/layout.ts';
import type { Installation } from '../installation/open.ts';
import { signPermitKey } from '../installation/permit-key.ts';
import { acquireLock } from '../supervisor/lock.ts';
import { accepting, ending, stagedNames } from './accept.ts';
import { finishRotation } from './finish.ts';
import { DAY_MS, OVERLAP_DAYS, type Rotatable } from './names.ts';
import { nodePlaces, type Place, placesHere } from './places.ts';
import type { Processes } from './processes.ts';
import { publish, spread } from './publish.ts';

export interface RotationOptions {
  readonly installation: Installation;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly random: RandomSource;
  /** How long replaced keys stay accepted; 0: until everything uses the new ones. */
  readonly overlapDays?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Runs `work` while no other rotation of the installation's keys runs. @throws {MillraceError} E_CONFLICT */
export async function asOnlyRotation<T>({ layout }: Pick<Installation, 'layout'>, work: () => Promise<T>): Promise<T> {
  const lock = await acquireLock(join(layout.run.folder, 'rotation.lock'));
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

/**
 * Replaces keys: creates and stages new ones, adds them to the directory, then installs them.
 * @param roles nodes to rotate, for `tls` and `identity`
 * @returns the restarted nodes
 */
export function rotate(
  what: Rotatable,
  options: RotationOptions & { readonly roles?: readonly NodeRole[] | undefined },
): Promise<NodeRole[]> {
  const { installation, clock, roles = nodeRoles } = options;
  const { layout } = installation;
  return asOnlyRotation(installation, async () => {
    requireHere(what, nodePlaces(installation));
    await finishRotation(options);
    switch (what) {
      case 'tls': {
        const authority = await authorityOf(installation, clock);
        for (const place of nodePlaces(installation))
          if (roles.includes(place.party.role)) await stageCertificateAt(authority, place);
        break;
      }
      case 'identity':
        for (const role of roles) await stageIdentity(layout.node(role));
        break;
      case 'permit':
        await stageNewPermitKey(options);
        break;
      case 'log':
        await stageLogKey(layout.node('control'), options.random);
        break;
      case 'users': {
        const { installation: id } = installation.directory;
        await stageUserAuthority(layout.node('control'), {
          installation: id,
          now: clock.now(),
          random: options.random,
        });
        break;
      }
      case 'authority':
        await stageAuthority(options);
    }
    return bringIn(options);
  });
}

/** The keys of a node can be replaced only where its folder is. @throws {MillraceError} E_STATE */
function requireHere(what: Rotatable, nodes: readonly Place[]): void {
  if (nodes.length === 0)
    throw new MillraceError(
      'E_STATE',
      `the nodes are on hosts of their own, and ${what} cannot be rotated from here (docs/several-hosts.md)`,
    );
}

/** Renews the certificates that are due, with new keys. */
export function renewCertificates(options: RotationOptions, places: readonly Place[]): Promise<NodeRole[]> {
  const { installation, clock } = options;
  return asOnlyRotation(installation, async () => {
    await finishRotation(options);
    const authority = await authorityOf(installation, clock);
    for (const place of places) await stageCertificateAt(authority, place);
    return bringIn(options);
  });
}

/** Makes the staged keys valid. */
async function bringIn(options: RotationOptions): Promise<NodeRole[]> {
  const { installation, processes, clock, overlapDays = OVERLAP_DAYS, signal } = options;
  // The old keys must stay valid until everything uses the new ones.
  const overlapMs = Math.max(overlapDays, 1) * DAY_MS;
  const names = await stagedNames(installation);
  await publish(installation, clock, (document) => accepting(document, names, { now: clock.now(), overlapMs }));
  const restarted = await finishRotation(options);
  if (overlapDays === 0) {
    await publish(installation, clock, (document) => ending(document, names, clock.now()));
    await spread(installation, processes, clock, signal);
    await eraseFormerLogKey(installation.layout.node('control'), installation.directory, clock.now());
  }
  return restarted;
}

/** @throws {MillraceError} E_CONFIG if its key is not here */
export async function authorityOf({ layout }: Pick<Installation, 'layout'>, clock: Clock): Promise<Authority> {
  if (!(await fileExists(layout.authority.key)))
    throw new MillraceError('E_CONFIG', `the key of the certificate authority is not in ${layout.authority.folder}`);
  const certificate = new TextDecoder().decode(await readBytes(layout.authority.certificate));
  return openAuthority({ certificate, key: await readBytes(layout.authority.key) }, () => clock.now());
}

async function stageCertificateAt(authority: Authority, { party, folder }: Place): Promise<void> {
  const tls = await authority.issue(party, hostsOf(party.role));
  if (party.role === 'user') await stageTls(folder, userFiles, tls);
  else if (party.role === 'machine') await stageMachineCertificate(folder, tls);
  else await stageCertificate(folder, tls);
}

/** Also stages the administrator's statement, which certificates of objects contain. */
async function stageNewPermitKey({ installation, clock, random }: RotationOptions): Promise<void> {
  const { layout, directory } = installation;
  const made = { installation: directory.installation, now: clock.now(), random };
  await stagePermitKey(layout.node('control'), (permitKey) => signPermitKey(layout, { ...made, permitKey }));
}

/** Stages a new authority, and a certificate from it for every party. */
async function stageAuthority({ installation, clock, random }: RotationOptions): Promise<void> {
  const { layout, directory } = installation;
  // A distinct name, because the issuer of a certificate is looked up by name.
  const name = `Millrace ${directory.installation.slice(0, 8)} ${toHex(random(4))}`;
  const authority = await createAuthority(name, clock.now());
  for (const place of await placesHere(installation)) await stageCertificateAt(authority, place);
  await stageFile(layout.authority.key, authority.identity.key);
  wipe(authority.identity.key);
  await stageFile(layout.authority.certificate, authority.identity.certificate, 0o644);
}
