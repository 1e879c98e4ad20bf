import { systemRandom, toHex } from '@millrace/base';
import { generateP256Key, generateUserKey, keyName } from '@millrace/identity';
import {
  type Admission,
  type Directory,
  type Machine,
  type Opening,
  type PermitRequest,
  readTransaction,
  registrationHash,
  sha256,
  signTransaction,
  signVisa,
  type TransactionOf,
  type Visa,
} from '@millrace/protocol';
import { createOpening, createProtocolFixture, dated, type ProtocolFixture } from './support.ts';

/** The machine's cloud, which recognises the design's cloud and is recognised by it. */
export interface OtherCloud {
  readonly keys: {
    readonly admin: ReturnType<typeof generateUserKey>;
    readonly permit: ReturnType<typeof generateP256Key>;
  };
  readonly directory: Directory;
}

/** A cloud with a design, and another cloud, to which the fixture's machine belongs. */
export async function createTwoClouds() {
  const own = createProtocolFixture();
  const there = createOtherCloud();
  const here: ProtocolFixture = { ...own, directory: await recognising(own, there) };
  return { here, there };
}

export function createOtherCloud(): OtherCloud {
  const keys = { admin: generateUserKey(), permit: generateP256Key() };
  const { directory } = createProtocolFixture();
  const names = { adminKey: toHex(keys.admin.publicKey), permitKey: toHex(keys.permit.publicKey) };
  return { keys, directory: { ...directory, ...names } };
}

/** The directory of a cloud that recognises another one. */
export async function recognising(own: ProtocolFixture, { directory }: OtherCloud): Promise<Directory> {
  const { installation, adminKey, name } = directory;
  const body = {
    type: 'cloud.recognise' as const,
    ...dated(),
    cloud: installation,
    name,
    adminKey: Uint8Array.from(Buffer.from(adminKey, 'hex')),
  };
  const recognition = toHex(await signTransaction(own.keys.admin, own.directory.installation, body));
  return { ...own.directory, recognised: [{ installation, adminKey, recognition, directory }] };
}

export function registrationOf({ keys, directory }: OtherCloud, machine: Machine) {
  return signTransaction(keys.admin, directory.installation, { type: 'machine.register', ...dated(), machine });
}

export interface VisitChanges {
  readonly request?: Partial<TransactionOf<'visit.request'>>;
  readonly visa?: Partial<Visa>;
  readonly registered?: Machine;
  readonly licence?: Partial<TransactionOf<'licence.grant'>>;
  readonly asked?: Partial<PermitRequest>;
  readonly signers?: Admission['signers'];
  readonly signRequest?: ProtocolFixture['keys']['holder'];
  readonly signVisa?: OtherCloud['keys']['permit'];
  readonly registrar?: OtherCloud;
  /** Installations that the documents are signed for. */
  readonly requestFor?: string;
  readonly visaFor?: string;
}

/** All signed documents of a stream to the other cloud's machine. */
export async function createVisit(
  here: ProtocolFixture,
  there: OtherCloud,
  changes: VisitChanges = {},
): Promise<Opening & { readonly admission: Admission }> {
  const { machine, directory, keys } = here;
  const { installation } = there.directory;
  const { body, ...opening } = await createOpening(here, {
    licence: {
      machines: [{ machine: machine.machine, registration: registrationHash(machine), cloud: installation }],
      ...changes.licence,
    },
    ...(changes.asked && { request: changes.asked }),
  });
  const { run, print } = body as PermitRequest;
  const licence = toHex(readTransaction(opening.licence).id);
  const about = { cloud: directory.installation, print, licence, machine: keyName(machine.publicKey) };
  const visit = { type: 'visit.request' as const, ...dated(), ...about, ...changes.request };
  const request = await signTransaction(changes.signRequest ?? keys.holder, changes.requestFor ?? installation, visit);
  const visa = await signVisa(changes.signVisa ?? there.keys.permit, changes.visaFor ?? installation, {
    type: 'visa',
    ...dated(),
    ...about,
    run,
    visit: toHex(visit.id),
    request: sha256(request),
    ...changes.visa,
  });
  const registration = await registrationOf(changes.registrar ?? there, changes.registered ?? machine);
  const { signers } = changes;
  return { ...opening, admission: { visa, request, registration, ...(signers && { signers }) } };
}

export const anyId = (): string => toHex(systemRandom(16));
