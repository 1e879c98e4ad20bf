import { readFile } from 'node:fs/promises';
import { fromHex } from '@millrace/base';
import { expiryOf, fingerprint, keyName } from '@millrace/identity';
import type { DirectoryDocument } from '@millrace/protocol';
import { nodeIdOf } from '../installation/layout.ts';
import type { Installation } from '../installation/open.ts';
import { DAY_MS, KEY_DAYS, NOTICE_DAYS } from './names.ts';
import { certificateOf, type Place, placesHere } from './places.ts';
import { readDocument } from './publish.ts';

/** A key or certificate of the installation. */
export interface KeyEntry {
  readonly kind: 'certificate' | 'key';
  /** Purpose: `authority`, `users`, `tls`, `identity`, `permit`, `log`, `user`, `machine`. */
  readonly use: string;
  /** Holder of the key. */
  readonly of: string;
  /** Beginning of the fingerprint or key name. */
  readonly id: string;
  /** ms since 1970; null for keys that identify a party: another key is another user or machine. */
  readonly expires: number | null;
  /** Accepted in addition to a newer one, or kept to verify old signatures. */
  readonly former: boolean;
}

/** All keys and certificates, including keys that do not expire. */
export async function listKeys(installation: Installation): Promise<KeyEntry[]> {
  const document = await readDocument(installation);
  const entries: KeyEntry[] = document.authorities.map(({ certificate, until }, i) => ({
    kind: 'certificate',
    use: 'authority',
    of: 'installation',
    id: fingerprint(certificate).slice(0, 16),
    expires: Math.min(expiryOf(certificate), until ?? Number.POSITIVE_INFINITY),
    former: i > 0,
  }));
  for (const [i, { certificate, until }] of (document.userAuthorities ?? []).entries())
    entries.push({
      ...{ kind: 'certificate', use: 'users', of: 'installation', id: fingerprint(certificate).slice(0, 16) },
      expires: Math.min(expiryOf(certificate), until ?? Number.POSITIVE_INFINITY),
      former: i > 0,
    });
  for (const place of await placesHere(installation)) entries.push(await certificateEntry(place));
  entries.push(...formerCertificates(document));
  for (const node of document.nodes) entries.push(...keyEntries('identity', nameOf(node), node.identities));
  entries.push(...keyEntries('permit', 'control', document.permitKeys));
  entries.push(...keyEntries('log', 'control', document.logKeys));
  const { users, machines } = installation.description;
  for (const { name, user } of users)
    entries.push({ kind: 'key', use: 'user', of: name, id: user.slice(0, 16), expires: null, former: false });
  for (const { name, registration } of machines) {
    const id = registration.machine.slice(0, 16);
    entries.push({ kind: 'key', use: 'machine', of: name, id, expires: null, former: false });
  }
  return entries;
}

/** Entries that expire within the notice, or have expired. Replaced ones are ignored. */
export function expiring(entries: readonly KeyEntry[], now: number): KeyEntry[] {
  return entries.filter(({ expires, former }) => !former && expires !== null && expires - now < NOTICE_DAYS * DAY_MS);
}

/** Parties whose certificates expire within the notice. */
export async function placesDue(installation: Installation, now: number): Promise<Place[]> {
  const due: Place[] = [];
  for (const place of await placesHere(installation))
    if (expiryOf(await readFile(certificateOf(place), 'utf8')) - now < NOTICE_DAYS * DAY_MS) due.push(place);
  return due;
}

/** Whether the authority's certificate expires within the notice. */
export async function authorityDue({ layout }: Installation, now: number): Promise<boolean> {
  return expiryOf(await readFile(layout.authority.certificate, 'utf8')) - now < NOTICE_DAYS * DAY_MS;
}

async function certificateEntry(place: Place): Promise<KeyEntry> {
  const certificate = await readFile(certificateOf(place), 'utf8');
  const expires = expiryOf(certificate);
  return {
    kind: 'certificate',
    use: 'tls',
    of: place.name,
    id: fingerprint(certificate).slice(0, 16),
    expires,
    former: false,
  };
}

function formerCertificates({ nodes }: DirectoryDocument): KeyEntry[] {
  return nodes.flatMap((node) =>
    node.fingerprints.slice(1).map(({ fingerprint: print, until = 0 }) => ({
      kind: 'certificate' as const,
      use: 'tls',
      of: nameOf(node),
      id: print.slice(0, 16),
      expires: until,
      former: true,
    })),
  );
}

/** Name used by the commands of this installation: the role if the node is here, otherwise the id. */
function nameOf({ id, role }: DirectoryDocument['nodes'][number]): string {
  return id === nodeIdOf(role) ? role : id;
}

function keyEntries(use: string, of: string, list: DirectoryDocument['logKeys']): KeyEntry[] {
  return list.map(({ key, since, until }) => ({
    kind: 'key',
    use,
    of,
    id: use === 'log' ? (key.split('+')[1] ?? '') : keyName(fromHex(key)).slice(0, 16),
    expires: until ?? since + KEY_DAYS * DAY_MS,
    former: until !== undefined,
  }));
}
