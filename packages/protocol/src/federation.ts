import {
  type Bytes,
  concatBytes,
  copyBytes,
  encodeCbor,
  equalBytes,
  fromHex,
  MillraceError,
  toHex,
  utf8,
} from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { z } from 'zod';
import type { Directory, RecognisedCloud } from './directory.ts';
import {
  type Machine,
  onlyKey,
  type PermitRequest,
  type Signed,
  type TransactionOf,
  type Visa,
  verifyTransaction,
  verifyVisa,
} from './documents.ts';
import { keyInForce, requireInForce } from './permit-keys.ts';
import { verifyMachineRegistration } from './registrations.ts';
import type { VisitingSpool } from './spools.ts';

// Two clouds: the design is at the first, the machine belongs to the second. Each side verifies here what the other
// side has signed. The administrator's recognition, in the directory, is the only source of the other cloud's keys.

const document = z.instanceof(Uint8Array);

/** What a visiting machine shows to prove that it may receive the stream. */
export const admissionSchema = z.strictObject({
  /** Signed by the control node of the machine's cloud. */
  visa: document,
  /** `visit.request`, signed by the holder for the machine's cloud. */
  request: document,
  /** `machine.register`, signed by the administrator of the machine's cloud. */
  registration: document,
  /**
   * Credentials at the design's cloud of the keys that signed the machine's `spool.load` and the certificate in it, if
   * the licence wants a certified material.
   */
  signers: z.strictObject({ operator: document, supplier: document }).optional(),
});
export type Admission = z.output<typeof admissionSchema>;

/**
 * The other cloud, as the administrator's newest directory recognises it.
 * @throws {MillraceError} E_CLOUD_UNKNOWN
 */
export function recognisedCloud(directory: Pick<Directory, 'recognised'>, cloud: string): RecognisedCloud {
  const found = directory.recognised?.find(({ installation }) => installation === cloud);
  if (found !== undefined) return found;
  throw new MillraceError('E_CLOUD_UNKNOWN', `the cloud ${cloud} is not recognised here`, { data: { cloud } });
}

/**
 * Name of a machine on the links of the distribution node. That of a visiting machine depends on its cloud, because
 * another cloud's authority can issue a certificate for any name.
 */
export function linkName(machine: string, cloud: string | undefined): string {
  if (cloud === undefined) return machine;
  return toHex(sha256(utf8('millrace/v1/visitor/'), concatBytes(fromHex(cloud), fromHex(machine))).subarray(0, 16));
}

/** The cloud of a machine according to the licence; undefined for a machine of the licence's own cloud. */
export function cloudOfMachine(licence: TransactionOf<'licence.grant'>, machine: string): string | undefined {
  return licence.machines.find((entry) => entry.machine === machine)?.cloud;
}

/** The parts of one stream's documents that an admission must match. */
export interface Visited {
  readonly licence: TransactionOf<'licence.grant'>;
  readonly print: string;
  /** Signer of the print request. */
  readonly holder: Uint8Array;
  readonly machine: Machine;
  readonly request: Pick<PermitRequest, 'run'>;
}

/**
 * The check of a visiting machine's eligibility, made by control, keys and segments nodes each. For a machine of the
 * own cloud there must be no admission.
 * @returns what the spool of a visiting machine is verified with; undefined for a machine of the own cloud
 * @param now time at which the object begins; 'any time' for an object that has begun
 * @throws {MillraceError} E_VISA, E_CLOUD_UNKNOWN, E_SIGNATURE, E_AUTH, E_EXPIRED, E_MACHINE_UNKNOWN
 */
export async function verifyAdmission(
  directory: Directory,
  visited: Visited,
  admission: Admission | undefined,
  now: number | 'any time',
): Promise<VisitingSpool | undefined> {
  const { licence, machine, holder } = visited;
  const cloud = cloudOfMachine(licence, machine.machine);
  if (cloud === undefined && admission === undefined) return undefined;
  if (cloud === undefined) throw new MillraceError('E_VISA', 'a machine of this cloud needs no visa');
  if (admission === undefined) throw new MillraceError('E_VISA', 'a machine of another cloud needs a visa');
  const other = recognisedCloud(directory, cloud);
  const registered = await verifyMachineRegistration(admission.registration, other);
  if (!equalBytes(encodeCbor(registered), encodeCbor(machine)))
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine’s cloud has registered it differently');
  const { visa, request } = await verifyVisaOf(other.directory, admission, copyBytes(holder), now);
  const fits =
    visa.cloud === directory.installation &&
    visa.print === visited.print &&
    visa.licence === toHex(licence.id) &&
    visa.machine === machine.machine &&
    equalBytes(visa.run, visited.request.run);
  if (!fits) throw new MillraceError('E_VISA', 'the visa is for another print, machine, run or cloud');
  requireSameVisit(visa, request);
  return { cloud, load: visa.load, signers: admission.signers };
}

/**
 * Verifies the signatures of a visa and of the request behind it.
 * @param directory directory of the machine's cloud
 * @param holder signer of the request
 * @throws {MillraceError} E_VISA, E_SIGNATURE, E_AUTH, E_EXPIRED, E_CLOCK, E_INPUT
 */
export async function verifyVisaOf(
  directory: Pick<Directory, 'installation' | 'permitKey' | 'former'>,
  { visa, request }: Pick<Admission, 'visa' | 'request'>,
  holder: Bytes,
  now: number | 'any time',
): Promise<{ readonly visa: Visa; readonly request: TransactionOf<'visit.request'> }> {
  const { body } = await signedVisa(directory, visa, now);
  const asked = await verifyTransaction(request, directory.installation, onlyKey(holder), now);
  if (asked.body.type !== 'visit.request') throw new MillraceError('E_VISA', 'not the request of a visit');
  if (!equalBytes(body.request, sha256(request))) throw new MillraceError('E_VISA', 'the visa answers another request');
  return { visa: body, request: asked.body };
}

async function signedVisa(
  directory: Pick<Directory, 'installation' | 'permitKey' | 'former'>,
  bytes: Uint8Array,
  now: number | 'any time',
): Promise<Signed<Visa>> {
  const visa = await verifyVisa(bytes, directory.installation, keyInForce(directory), now);
  requireInForce(directory, visa);
  return visa;
}

/** @throws {MillraceError} E_VISA unless the visa repeats what the holder has signed */
export function requireSameVisit(visa: Visa, request: TransactionOf<'visit.request'>): void {
  const same =
    visa.visit === toHex(request.id) &&
    visa.cloud === request.cloud &&
    visa.print === request.print &&
    visa.licence === request.licence &&
    visa.machine === request.machine;
  if (!same) throw new MillraceError('E_VISA', 'the visa differs from the holder’s request');
}
