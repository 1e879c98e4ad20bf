import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Clock, fromHex, MillraceError, parse, type RandomSource, toHex, writeDurably } from '@millrace/base';
import { readJson, readJsonIfThere, toJsonFile } from '@millrace/client/node';
import { expiryOf, fingerprint, isIssuedBy } from '@millrace/identity';
import {
  type DirectoryDocument,
  type DirectoryNode,
  directoryAt,
  firstDocument,
  type NodeAdmission,
  type NodeRequest,
  nodeRoles,
  parseNodeAdmission,
  requestFingerprint,
  verifyDirectory,
  verifyNodeRequest,
} from '@millrace/protocol';
import { z } from 'zod';
import { type Description, parseDescription } from '../installation/description.ts';
import { CERTIFICATE_MS, hostsOf } from '../installation/init.ts';
import { type Layout, layoutOf } from '../installation/layout.ts';
import { signPermitKey } from '../installation/permit-key.ts';
import { accepting } from '../rotation/accept.ts';
import { DAY_MS, NOTICE_DAYS, OVERLAP_DAYS } from '../rotation/names.ts';
import { signNext } from '../rotation/publish.ts';
import { asOnlyRotation, authorityOf } from '../rotation/rotate.ts';

// Admitting nodes that live on hosts of their own. Every step is durable before the next one and can be repeated: the
// certificates, then the directory that lists them, then the admissions.

/** The administrator's part of an installation, which exists before its first directory. */
export interface Foundation {
  readonly layout: Layout;
  readonly description: Description;
}

export interface AdmitOptions {
  readonly home: string;
  /** Requests as they came from the hosts, parsed as JSON. */
  readonly requests: readonly unknown[];
  /** Fingerprints as the hosts showed them, in any order: one for each request. */
  readonly fingerprints: readonly string[];
  /** Id of the node that the only request replaces, in the same directory. */
  readonly replaces?: string | undefined;
  /** The administrator states that the segments nodes share one keyspace of a cluster. */
  readonly sharedCells?: boolean | undefined;
  readonly clock: Clock;
  readonly random: RandomSource;
}

export interface Admitted {
  /** Number of the directory that lists the nodes. */
  readonly sequence: number;
  /** The node that was replaced. */
  readonly retired: readonly DirectoryNode[];
  readonly nodes: readonly { readonly id: string; readonly role: NodeRequest['role']; readonly file: string }[];
}

const recordSchema = z.strictObject({
  request: z.string(),
  certificate: z.string(),
  permitKeyDocument: z.string().optional(),
});
type Prepared = z.output<typeof recordSchema> & { readonly of: NodeRequest };

/** @throws {MillraceError} E_CONFIG if there is no installation */
export async function readFoundation(home: string): Promise<Foundation> {
  const layout = layoutOf(home);
  return { layout, description: parseDescription(await readJson(layout.installation)) };
}

/** The present directory, verified; undefined before the first admission. @throws {MillraceError} E_DIRECTORY */
export async function readDirectory({ layout, description }: Foundation): Promise<DirectoryDocument | undefined> {
  const json = await readJsonIfThere(layout.directory);
  return json === undefined ? undefined : verifyDirectory(json, description);
}

/**
 * Verifies requests and signs the directory that lists their nodes. The first admission names a node of each role.
 * @throws {MillraceError} E_SIGNATURE, E_AUTH if a request is not the one whose fingerprint was given, or for another
 *   administrator; E_CONFLICT if its id is taken; E_STATE if the node cannot be added
 */
export async function admitNodes(options: AdmitOptions): Promise<Admitted> {
  const { clock, replaces, sharedCells = false } = options;
  const foundation = await readFoundation(options.home);
  const requests = verified(foundation, options.requests, options.fingerprints);
  return asOnlyRotation(foundation, async () => {
    const before = await readDirectory(foundation);
    requireAdmissible(before, requests, replaces, sharedCells);
    const prepared: Prepared[] = [];
    for (const request of requests) prepared.push(await prepare(foundation, request, options));
    const now = clock.now();
    const next =
      before === undefined
        ? firstOf(foundation, prepared, await authorityOf(foundation, clock), now)
        : listing(before, prepared, replaces, now);
    const signed = await signNext(foundation, clock, before, next);
    const nodes: Admitted['nodes'][number][] = [];
    for (const { of, certificate, permitKeyDocument } of prepared) {
      const { file } = foundation.layout.admission(of.id);
      const admission: NodeAdmission = {
        ...{ version: 1, id: of.id, certificate, directory: signed },
        ...(permitKeyDocument !== undefined && { permitKeyDocument }),
      };
      await writeDurably(file, toJsonFile(parseNodeAdmission(admission)), 0o644);
      nodes.push({ id: of.id, role: of.role, file });
    }
    const retired = before === undefined ? [] : directoryAt(before, now).nodes.filter(({ id }) => id === replaces);
    return { sequence: signed.directory.sequence, retired, nodes };
  });
}

function verified(
  { description }: Foundation,
  inputs: readonly unknown[],
  fingerprints: readonly string[],
): NodeRequest[] {
  const requests = inputs.map(verifyNodeRequest);
  const shown = new Set(fingerprints);
  for (const request of requests) {
    const found = requestFingerprint(request);
    if (!shown.delete(found))
      throw new MillraceError(
        'E_AUTH',
        `the request of ${request.id} has the fingerprint ${found}, which was not given: compare it with what the host shows`,
        { data: { id: request.id, fingerprint: found } },
      );
    if (request.installation !== description.installation || request.adminKey !== description.adminKey)
      throw new MillraceError('E_AUTH', `the request of ${request.id} is for another installation or administrator`);
  }
  if (shown.size > 0) throw new MillraceError('E_AUTH', `no request has the fingerprint ${[...shown].join(', ')}`);
  const ids = requests.map(({ id }) => id);
  if (new Set(ids).size < ids.length) throw new MillraceError('E_CONFLICT', 'two requests have the same id');
  return requests;
}

function requireAdmissible(
  before: DirectoryDocument | undefined,
  requests: readonly NodeRequest[],
  replaces: string | undefined,
  sharedCells: boolean,
): void {
  const state = (why: string) => new MillraceError('E_STATE', why);
  if (before === undefined) {
    if (replaces !== undefined) throw state('the installation has no node that could be replaced');
    const missing = nodeRoles.filter((role) => !requests.some((request) => request.role === role));
    if (missing.length > 0)
      throw state(`the first admission names a node of each role; missing: ${missing.join(', ')}`);
    for (const role of nodeRoles)
      if (role !== 'distribution' && requests.filter((request) => request.role === role).length > 1)
        throw state(`the first admission names one ${role} node`);
    if (requests.some(({ role, control }) => role === 'control' && control === undefined))
      throw state('the first control node makes the keys of the installation: create it without --join');
    return;
  }
  const added = requests.filter(({ id, role, identity }) => {
    const entry = before.nodes.find((node) => node.id === id);
    if (entry === undefined) return true;
    if (entry.role !== role || entry.identities[0]?.key !== identity)
      throw new MillraceError('E_CONFLICT', `the directory lists another node with the id ${id}: choose another id`);
    return false;
  });
  if (replaces !== undefined && requests.length !== 1) throw state('a replacement is admitted alone');
  for (const { id, role, control } of added) {
    if (role === 'keys') throw state('the installation has a keys node; to move it to another host, move its folder');
    if (role === 'control' && control !== undefined)
      throw state(`the control nodes of an installation share their keys: create ${id} with --join`);
    if (role === 'control' && replaces !== undefined)
      throw state(`${id} gets its keys from the control nodes that run: admit it beside them, then retire ${replaces}`);
    const present = before.nodes.find((node) => node.id === replaces);
    if (replaces !== undefined && present?.role !== role)
      throw new MillraceError('E_NOT_FOUND', `the directory lists no ${role} node ${replaces}`);
    if (role === 'segments' && replaces === undefined && !sharedCells)
      throw state(
        `state which segments node ${id} replaces, or --shared-cells if it uses the same keyspace of a cluster as the others`,
      );
  }
}

/** The node's certificate, issued once for its request and again when it expires soon; durable once it resolves. */
async function prepare(
  foundation: Foundation,
  request: NodeRequest,
  { clock, random }: Pick<AdmitOptions, 'clock' | 'random'>,
): Promise<Prepared> {
  const { layout, description } = foundation;
  const { id, role } = request;
  const now = clock.now();
  const authority = await authorityOf(foundation, clock);
  const { record } = layout.admission(id);
  const json = await readJsonIfThere(record);
  const of = request;
  if (json !== undefined) {
    const kept = parse(recordSchema, json, record, 'E_CONFIG');
    const isCurrent =
      kept.request === requestFingerprint(request) &&
      isIssuedBy(kept.certificate, authority.identity.certificate) &&
      expiryOf(kept.certificate) - now > NOTICE_DAYS * DAY_MS;
    if (isCurrent) return { ...kept, of };
  }
  const hosts = hostsOf(
    role,
    request.addresses.map(({ host }) => host),
  );
  const certificate = await authority.certify({ role, id }, fromHex(request.tlsKey), now + CERTIFICATE_MS, hosts);
  const { control } = request;
  const permitKeyDocument =
    control &&
    toHex(
      await signPermitKey(layout, {
        ...{ installation: description.installation, permitKey: control.permitKey, now, random },
      }),
    );
  const made = {
    request: requestFingerprint(request),
    certificate,
    ...(permitKeyDocument !== undefined && { permitKeyDocument }),
  };
  await mkdir(dirname(record), { recursive: true, mode: 0o700 });
  await writeDurably(record, toJsonFile(made), 0o644);
  return { ...made, of };
}

const entryOf = ({ of: { id, role, addresses, identity }, certificate }: Prepared) => ({
  ...{ id, role, addresses, identity },
  fingerprint: fingerprint(certificate),
});

function firstOf(
  { description }: Foundation,
  prepared: readonly Prepared[],
  authority: { readonly identity: { readonly certificate: string } },
  now: number,
): DirectoryDocument {
  const control = prepared.find(({ of }) => of.control !== undefined)?.of.control;
  if (control === undefined) throw new MillraceError('E_STATE', 'the first admission names a control node');
  const { installation, adminKey, name } = description;
  return firstDocument(
    {
      ...{ version: 2, installation, adminKey, name: name ?? 'Millrace' },
      ...control,
      authority: authority.identity.certificate,
      nodes: prepared.map(entryOf),
    },
    now,
  );
}

/** The document with these nodes, or with a listed node's newer certificate, and without the one that is replaced. */
function listing(
  before: DirectoryDocument,
  prepared: readonly Prepared[],
  replaces: string | undefined,
  now: number,
): DirectoryDocument {
  const isListed = ({ of }: Prepared) => before.nodes.some(({ id }) => id === of.id);
  const fingerprints = Object.fromEntries(
    prepared.filter(isListed).map(({ of, certificate }) => [of.id, fingerprint(certificate)]),
  );
  const document = accepting(before, { fingerprints, identities: {} }, { now, overlapMs: OVERLAP_DAYS * DAY_MS });
  const added = prepared
    .filter((one) => !isListed(one))
    .map((one) => {
      const { id, role, addresses, identity, fingerprint: print } = entryOf(one);
      return {
        ...{ id, role, addresses },
        fingerprints: [{ fingerprint: print, since: now }],
        identities: [{ key: identity, since: now }],
      };
    });
  const kept = document.nodes.filter(({ id }) => id !== replaces || prepared.some(({ of }) => of.id === id));
  return { ...document, nodes: [...kept, ...added] };
}

/**
 * Removes a node from the directory.
 * @returns the number of the directory that no longer names it, and the node
 * @throws {MillraceError} E_NOT_FOUND, E_STATE if it is the only one of its role
 */
export async function retireNode(
  home: string,
  id: string,
  clock: Clock,
): Promise<{ readonly sequence: number; readonly node: DirectoryNode }> {
  const foundation = await readFoundation(home);
  return asOnlyRotation(foundation, async () => {
    const before = await readDirectory(foundation);
    const node = before && directoryAt(before, clock.now()).nodes.find((listed) => listed.id === id);
    if (before === undefined || node === undefined)
      throw new MillraceError('E_NOT_FOUND', `the directory lists no node ${id}`);
    if (before.nodes.filter(({ role }) => role === node.role).length === 1)
      throw new MillraceError('E_STATE', `${id} is the only ${node.role} node: admit the one that replaces it`);
    const nodes = before.nodes.filter((listed) => listed.id !== id);
    const { directory } = await signNext(foundation, clock, before, { ...before, nodes });
    return { sequence: directory.sequence, node };
  });
}

/** The nodes of the present directory, for people. */
export async function listNodes(home: string, clock: Clock) {
  const document = await readDirectory(await readFoundation(home));
  if (document === undefined) return { sequence: 0, nodes: [] };
  const nodes = directoryAt(document, clock.now()).nodes.map(({ id, role, addresses, fingerprint: print }) => ({
    ...{ id, role, addresses, fingerprint: print },
  }));
  return { sequence: document.sequence, nodes };
}
