import { readFile } from 'node:fs/promises';
import { discardStaged, fileExists, stagedPath } from '@millrace/base';
import { discardUnlistedKeys, readStagedKeys } from '@millrace/cloud/admin';
import { fingerprint, isIssuedBy } from '@millrace/identity';
import { discardMachineCertificate } from '@millrace/machine/admin';
import { type DirectoryDocument, discardStagedTls, MAX_ACCEPTED, type NodeEntry } from '@millrace/protocol';
import { userFiles } from '../installation/layout.ts';
import type { Installation } from '../installation/open.ts';
import { machinePlaces, nodePlaces, userPlaces } from './places.ts';

/** Public parts of the staged keys. */
export interface StagedNames {
  readonly authority?: string | undefined;
  /** By node id. */
  readonly fingerprints: Readonly<Record<string, string>>;
  readonly identities: Readonly<Record<string, string>>;
  readonly permitKey?: string | undefined;
  readonly logKey?: string | undefined;
  /** Certificate of the authority of users, PEM. */
  readonly userAuthority?: string | undefined;
}

export async function stagedNames({ layout, description }: Installation): Promise<StagedNames> {
  const fingerprints: Record<string, string> = {};
  const identities: Record<string, string> = {};
  let ofControl: Pick<StagedNames, 'permitKey' | 'logKey' | 'userAuthority'> = {};
  for (const { party, folder } of nodePlaces({ layout })) {
    const { certificate, identity, permitKey, logKey, userAuthority } = await readStagedKeys(
      folder,
      description.installation,
    );
    if (certificate !== undefined) fingerprints[party.id] = fingerprint(certificate);
    if (identity !== undefined) identities[party.id] = identity;
    if (party.role === 'control') ofControl = { permitKey, logKey, userAuthority };
  }
  const authorityFile = stagedPath(layout.authority.certificate);
  const authority = (await fileExists(authorityFile)) ? await readFile(authorityFile, 'utf8') : undefined;
  return { fingerprints, identities, authority, ...ofControl };
}

interface Dated {
  readonly since: number;
  readonly until?: number | undefined;
}

/**
 * Puts a new entry before the others. The previous newest entry gets an end. Expired entries are removed unless they
 * are to be kept.
 */
function before<T extends Dated>(
  list: readonly T[],
  entry: T | undefined,
  until: number,
  keep: boolean,
  now: number,
): T[] {
  if (entry === undefined) return [...list];
  const former = list.map((old) => ({ ...old, until: old.until ?? until }));
  const counting = former.filter((old) => keep || old.until > now);
  return keep ? [entry, ...counting] : [entry, ...counting].slice(0, MAX_ACCEPTED);
}

/** The document in which all staged keys are valid, and the replaced ones during the overlap. */
export function accepting(
  document: DirectoryDocument,
  names: StagedNames,
  { now, overlapMs }: { readonly now: number; readonly overlapMs: number },
): DirectoryDocument {
  const until = now + overlapMs;
  const since = now;
  const fresh = (
    list: readonly { key: string; since: number; until?: number | undefined }[],
    key: string | undefined,
  ) => (key === undefined || list.some((known) => known.key === key) ? undefined : { key, since });
  const renewed = (node: NodeEntry): NodeEntry => {
    const { id, fingerprints, identities } = node;
    const print = names.fingerprints[id];
    const known = print === undefined || fingerprints.some((entry) => entry.fingerprint === print);
    return {
      ...node,
      fingerprints: before(fingerprints, known ? undefined : { fingerprint: print, since }, until, false, now),
      identities: before(identities, fresh(identities, names.identities[id]), until, false, now),
    };
  };
  const { authorities, permitKeys, logKeys } = document;
  const unlisted = (list: DirectoryDocument['authorities'], certificate: string | undefined) =>
    certificate === undefined || list.some((known) => known.certificate === certificate)
      ? undefined
      : { certificate, since };
  const { userAuthorities = [] } = document;
  const ofUsers = before(userAuthorities, unlisted(userAuthorities, names.userAuthority), until, false, now);
  return {
    ...document,
    authorities: before(authorities, unlisted(authorities, names.authority), until, false, now),
    ...(ofUsers.length === 0 ? {} : { userAuthorities: ofUsers }),
    nodes: document.nodes.map(renewed),
    permitKeys: before(permitKeys, fresh(permitKeys, names.permitKey), until, true, now),
    logKeys: before(logKeys, fresh(logKeys, names.logKey), until, true, now),
  };
}

/** The document in which the keys replaced by `names` are no longer valid. */
export function ending(document: DirectoryDocument, names: StagedNames, now: number): DirectoryDocument {
  const end = <T extends Dated>(list: readonly T[], replaced: string | undefined): T[] =>
    list.map((entry) =>
      entry.until === undefined || replaced === undefined ? entry : { ...entry, until: Math.min(entry.until, now) },
    );
  return {
    ...document,
    authorities: end(document.authorities, names.authority),
    ...(document.userAuthorities && { userAuthorities: end(document.userAuthorities, names.userAuthority) }),
    nodes: document.nodes.map((node) => ({
      ...node,
      fingerprints: end(node.fingerprints, names.fingerprints[node.id]),
      identities: end(node.identities, names.identities[node.id]),
    })),
    permitKeys: end(document.permitKeys, names.permitKey),
    logKeys: end(document.logKeys, names.logKey),
  };
}

/** Discards staged keys that the directory does not list: a rotation was interrupted before they became valid. */
export async function discardUnlisted(installation: Installation, document: DirectoryDocument): Promise<void> {
  const { layout, description } = installation;
  const { authority } = await stagedNames(installation);
  const authorities = document.authorities.map(({ certificate }) => certificate);
  if (authority !== undefined && !authorities.includes(authority))
    await discardStaged(layout.authority.certificate, layout.authority.key);
  const isIssued = (certificate: string) => authorities.some((issuer) => isIssuedBy(certificate, issuer));
  for (const { folder } of machinePlaces(installation)) await discardMachineCertificate(folder, isIssued);
  for (const { folder } of userPlaces(installation)) await discardStagedTls(folder, userFiles, isIssued);
  for (const { folder, party } of nodePlaces(installation)) {
    const entry = document.nodes.find(({ id }) => id === party.id);
    await discardUnlistedKeys(folder, description.installation, {
      certificate: (pem) => entry?.fingerprints.some((listed) => listed.fingerprint === fingerprint(pem)) === true,
      identity: (point) => entry?.identities.some(({ key }) => key === point) === true,
      permitKey: (point) => document.permitKeys.some(({ key }) => key === point),
      userAuthority: (pem) => document.userAuthorities?.some((known) => known.certificate === pem) === true,
      logKey: (verifier) => document.logKeys.some(({ key }) => key === verifier),
    });
  }
}
