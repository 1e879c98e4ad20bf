import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { toHex, wipe } from '@millrace/base';
import { readBytes } from '@millrace/client/node';
import { fingerprint, isIssuedBy, p256Key } from '@millrace/identity';
import { ed25519NoteSigner, formatVerifierKey } from '@millrace/ledger';
import { type DirectoryDocument, MAX_ACCEPTED, type NodeEntry } from '@millrace/protocol';
import { nodeFiles, nodeIdOf, nodeRoles } from '../installation/layout.ts';
import type { Installation } from '../installation/open.ts';
import { allPlaces, certificateOf, nodePlaces } from './places.ts';
import { exists, staged } from './staged.ts';

/** What lies beside keys, ready to take their place: its public parts. */
export interface StagedNames {
  readonly authority?: string;
  /** By the id of the node. */
  readonly fingerprints: Readonly<Record<string, string>>;
  readonly identities: Readonly<Record<string, string>>;
  readonly permitKey?: string;
  readonly logKey?: string;
}

export async function stagedNames(installation: Installation): Promise<StagedNames> {
  const { layout, description } = installation;
  const fingerprints: Record<string, string> = {};
  const identities: Record<string, string> = {};
  for (const place of nodePlaces(installation)) {
    const certificate = staged(certificateOf(place));
    if (await exists(certificate)) fingerprints[place.party.id] = fingerprint(await readFile(certificate, 'utf8'));
  }
  for (const role of nodeRoles) {
    const point = await pointIn(join(layout.node(role), nodeFiles.identity));
    if (point !== undefined) identities[nodeIdOf(role)] = point;
  }
  const permitKey = await pointIn(join(layout.node('control'), nodeFiles.permitKey));
  const logKey = await verifierKeyIn(join(layout.node('control'), nodeFiles.logKey), description.installation);
  const authorityFile = staged(layout.authority.certificate);
  const authority = (await exists(authorityFile)) ? await readFile(authorityFile, 'utf8') : undefined;
  return {
    fingerprints,
    identities,
    ...(authority === undefined ? {} : { authority }),
    ...(permitKey === undefined ? {} : { permitKey }),
    ...(logKey === undefined ? {} : { logKey }),
  };
}

interface Dated {
  readonly since: number;
  readonly until?: number | undefined;
}

/** Puts a new entry before the others; the newest until now gets an end, and what has ended goes unless it is kept. */
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

/** The document in which everything that is staged counts, and what it replaces counts for the overlap. */
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
  const authority =
    names.authority === undefined || authorities.some(({ certificate }) => certificate === names.authority)
      ? undefined
      : { certificate: names.authority, since };
  return {
    ...document,
    authorities: before(authorities, authority, until, false, now),
    nodes: document.nodes.map(renewed),
    permitKeys: before(permitKeys, fresh(permitKeys, names.permitKey), until, true, now),
    logKeys: before(logKeys, fresh(logKeys, names.logKey), until, true, now),
  };
}

/** The document in which nothing counts any more of what `names` have replaced. */
export function ending(document: DirectoryDocument, names: StagedNames, now: number): DirectoryDocument {
  const end = <T extends Dated>(list: readonly T[], replaced: string | undefined): T[] =>
    list.map((entry) =>
      entry.until === undefined || replaced === undefined ? entry : { ...entry, until: Math.min(entry.until, now) },
    );
  return {
    ...document,
    authorities: end(document.authorities, names.authority),
    nodes: document.nodes.map((node) => ({
      ...node,
      fingerprints: end(node.fingerprints, names.fingerprints[node.id]),
      identities: end(node.identities, names.identities[node.id]),
    })),
    permitKeys: end(document.permitKeys, names.permitKey),
    logKeys: end(document.logKeys, names.logKey),
  };
}

/** Paths of staged files that the directory does not name: left by a rotation that was cut short before it counted. */
export async function unaccepted(installation: Installation, document: DirectoryDocument): Promise<string[]> {
  const { layout } = installation;
  const names = await stagedNames(installation);
  const entryOf = (id: string) => document.nodes.find((node) => node.id === id);
  const stale: string[] = [];
  const authorities = document.authorities.map(({ certificate }) => certificate);
  if (names.authority !== undefined && !authorities.includes(names.authority))
    stale.push(layout.authority.certificate, layout.authority.key);
  for (const place of allPlaces(installation)) {
    const next = staged(certificateOf(place));
    const key = join(place.folder, place.files.tlsKey);
    if (!(await exists(next))) {
      // The certificate is staged last and put in its place last.
      if (await exists(staged(key))) stale.push(key);
      continue;
    }
    const certificate = await readFile(next, 'utf8');
    const { party } = place;
    const counts =
      'name' in party
        ? authorities.some((authority) => isIssuedBy(certificate, authority))
        : entryOf(party.id)?.fingerprints.some((entry) => entry.fingerprint === fingerprint(certificate));
    if (!counts) stale.push(certificateOf(place), key);
  }
  for (const role of nodeRoles) {
    const identity = names.identities[nodeIdOf(role)];
    if (identity !== undefined && !entryOf(nodeIdOf(role))?.identities.some(({ key }) => key === identity))
      stale.push(join(layout.node(role), nodeFiles.identity));
  }
  const control = layout.node('control');
  if (names.permitKey !== undefined && !document.permitKeys.some(({ key }) => key === names.permitKey))
    stale.push(join(control, nodeFiles.permitKeyDocument), join(control, nodeFiles.permitKey));
  if (names.logKey !== undefined && !document.logKeys.some(({ key }) => key === names.logKey))
    stale.push(join(control, nodeFiles.logKey));
  return stale;
}

async function pointIn(path: string): Promise<string | undefined> {
  return readStaged(path, (secret) => {
    const key = p256Key(secret);
    key.close();
    return toHex(key.publicKey);
  });
}

async function verifierKeyIn(path: string, installation: string): Promise<string | undefined> {
  return readStaged(path, (secret) => {
    const { name, publicKey } = ed25519NoteSigner(`millrace/${installation}`, secret);
    return formatVerifierKey(name, publicKey);
  });
}

async function readStaged<T>(path: string, read: (secret: Uint8Array) => T): Promise<T | undefined> {
  if (!(await exists(staged(path)))) return undefined;
  const secret = await readBytes(staged(path));
  try {
    return read(secret);
  } finally {
    wipe(secret);
  }
}
