import { type Bytes, copyBytes, MillraceError, systemRandom, toHex, utf8 } from '@millrace/base';
import { generateP256Key, generateUserKey, keyName, type MemorySigner, type P256Key } from '@millrace/identity';
import {
  type Attested,
  type BoxKey,
  type BoxRole,
  type BoxSecrets,
  type Directory,
  type Machine,
  type MachineDocument,
  type NodeRole,
  nodeOf,
  type Opening,
  objectId,
  type Permit,
  type PermitRequest,
  registrationHash,
  sha256,
  signMachineDocument,
  signPermit,
  signTransaction,
  type Transaction,
} from '@millrace/protocol';
import { permitRequest } from '../permit-request.mjs';

export const codeOf = async (action: () => unknown): Promise<string> => {
  try {
    await action();
  } catch (error) {
    if (error instanceof MillraceError) return error.code;
    throw error;
  }
  return 'nothing thrown';
};

/** The error code of a refused call, or `accepted`. */
export async function outcomeOf(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === 'function' ? work() : work);
    return 'accepted';
  } catch (error) {
    return error instanceof MillraceError ? error.code : String(error);
  }
}

export const NOW = 1_800_000_000_000;
export const dated = () => ({ id: systemRandom(16), issued: NOW, expires: NOW + 600_000 });

/** The administrator's registration of a key without an organisation: its credential. */
export function registerKey(
  admin: MemorySigner,
  installation: string,
  publicKey: Uint8Array,
  name = 'user',
): Promise<Bytes> {
  const document = { type: 'user.register' as const, ...dated(), publicKey: copyBytes(publicKey), name };
  return signTransaction(admin, installation, document);
}

/** A box key: its announcement and its secret key. */
export function boxOf(
  role: BoxRole,
  changes: Partial<BoxKey> = {},
): { body: BoxKey; key: P256Key; secrets: BoxSecrets } {
  const key = generateP256Key();
  const times = { issued: NOW, expires: NOW + 600_000 };
  const body: BoxKey = {
    type: 'box',
    node: `${role}-1`,
    use: 'mail',
    number: NOW,
    point: key.publicKey,
    ...times,
    ...changes,
  };
  return { body, key, secrets: { keyOf: (number) => (number === body.number ? key : undefined) } };
}

/** One installation with an owner, a holder, a machine and all signed documents of a stream. */
export function createProtocolFixture() {
  const keys = {
    owner: generateUserKey(),
    holder: generateUserKey(),
    admin: generateUserKey(),
    machine: generateP256Key(),
    permit: generateP256Key(),
    ephemeral: generateP256Key(),
    control: generateP256Key(),
    segments: generateP256Key(),
    keys: generateP256Key(),
    distribution: generateP256Key(),
  };
  const node = (role: NodeRole, digit: string) => ({
    id: `${role}-1`,
    role,
    addresses: [],
    fingerprint: digit.repeat(64),
    identity: toHex(keys[role].publicKey),
  });
  const directory: Directory = {
    version: 2,
    installation: toHex(systemRandom(16)),
    name: 'test',
    authority: 'none',
    nodes: [node('control', '0'), node('segments', 'a'), node('keys', 'b'), node('distribution', 'c')],
    permitKey: toHex(keys.permit.publicKey),
    logKey: 'test+00000000+AA==',
    adminKey: toHex(keys.admin.publicKey),
  };
  const machine: Machine = {
    machine: keyName(keys.machine.publicKey),
    publicKey: keys.machine.publicKey,
    serial: 'SN-1',
    kind: 'virtual',
    profile: { factor: 100 },
  };
  const design = toHex(sha256(utf8('design')).subarray(0, 16));
  const coreHash = sha256(utf8('core'));
  return { keys, directory, machine, design, coreHash };
}

/** The fixture's directory with a second segments node. */
export function twoSegmentsNodes(): { readonly directory: Directory; readonly first: Directory['nodes'][number] } {
  const { directory } = createProtocolFixture();
  const first = nodeOf(directory, 'segments');
  return { directory: { ...directory, nodes: [...directory.nodes, { ...first, id: 'segments-2' }] }, first };
}

export type ProtocolFixture = ReturnType<typeof createProtocolFixture>;

export interface Changes {
  licence?: Partial<Extract<Transaction, { type: 'licence.grant' }>>;
  print?: Partial<Extract<Transaction, { type: 'print.request' }>>;
  request?: Partial<PermitRequest>;
  permit?: Partial<Omit<Permit, 'type' | 'id' | 'count' | 'request'>>;
  machine?: Partial<Machine>;
  amendments?: readonly Attested[];
  signLicence?: ProtocolFixture['keys']['owner'];
  signPrint?: ProtocolFixture['keys']['owner'];
  signRequest?: ProtocolFixture['keys']['machine'];
  signPermit?: ProtocolFixture['keys']['machine'];
}

export async function createOpening(
  fixture: ProtocolFixture,
  changes: Changes = {},
): Promise<Opening & { body: MachineDocument }> {
  const { keys, directory, design } = fixture;
  const machine = { ...fixture.machine, ...changes.machine };
  const licence = {
    type: 'licence.grant' as const,
    ...dated(),
    design,
    core: fixture.coreHash,
    objects: 2,
    machines: [{ machine: fixture.machine.machine, registration: registrationHash(fixture.machine) }],
    materials: ['PLA'],
    notBefore: NOW - 1,
    notAfter: NOW + 1_000_000,
    holder: keys.holder.publicKey,
    secretHash: new Uint8Array(32),
    telemetryKey: generateP256Key().publicKey,
    disclose: [],
    ...changes.licence,
  };
  const licenceId = toHex(licence.id);
  const print = {
    type: 'print.request' as const,
    ...dated(),
    licence: licenceId,
    machine: fixture.machine.machine,
    ...changes.print,
  };
  const request = permitRequest({
    ...dated(),
    ...{ print: toHex(print.id), serial: 'SN-1', ephemeral: keys.ephemeral.publicKey },
    ...changes.request,
  });
  const requestBytes = await signMachineDocument(changes.signRequest ?? keys.machine, directory.installation, request);
  const number = changes.permit?.number ?? 1;
  const permit = {
    type: 'permit' as const,
    ...dated(),
    print: toHex(print.id),
    licence: licenceId,
    object: objectId(licenceId, number),
    number,
    design,
    machine: fixture.machine.machine,
    request: sha256(requestBytes),
    count: 1 as const,
    ...changes.permit,
  };
  const [licensor, orderer] = [changes.signLicence ?? keys.owner, changes.signPrint ?? keys.holder];
  const registered = ({ publicKey }: MemorySigner) => registerKey(keys.admin, directory.installation, publicKey);
  return {
    permit: await signPermit(changes.signPermit ?? keys.permit, directory.installation, permit),
    request: requestBytes,
    print: await signTransaction(orderer, directory.installation, print),
    licence: await signTransaction(licensor, directory.installation, licence),
    licenceSigner: await registered(licensor),
    printSigner: await registered(orderer),
    amendments: changes.amendments ?? [],
    machine,
    body: request,
  };
}
