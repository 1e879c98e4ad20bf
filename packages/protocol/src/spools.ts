import { copyBytes, equalBytes, MillraceError, toHex } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import { keyName } from '@millrace/identity';
import { ignoringRevocations, verifyBy } from './acting.ts';
import { requireRole, verifyCredential } from './credentials.ts';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { type Machine, type PermitRequest, readTransaction, type TransactionOf } from './documents.ts';
import type { LicensedMaterial, SpoolProof } from './material-documents.ts';
import { type CertifiedMaterial, readMaterial, requireUnexpired, signedFor, verifyMaterial } from './materials.ts';

// Which spool a machine uses: an operator's signed statement, with the supplier's certificate in it. Control, both
// proactive nodes, the agent and the verifier of a part's certificate check it here.

type Named = Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;
type SpoolLoad = TransactionOf<'spool.load'>;

/** With what the spool of a machine of another cloud is verified at the design's cloud. */
export interface VisitingSpool {
  /** The machine's cloud, for which operator and supplier have signed. */
  readonly cloud: string;
  /** SHA-256 of the newest `spool.load`, as the machine's cloud states it in the visa. */
  readonly load: Uint8Array | undefined;
  /** Credentials of these keys at the design's cloud: the machine's cloud vouches for nobody here. */
  readonly signers: { readonly operator: Uint8Array; readonly supplier: Uint8Array } | undefined;
}

/** What is known about a loaded spool without trust in anybody's word for it. */
export interface SpoolFacts {
  /** Id of the spool: of its certificate; without one, of the statement that it is loaded. Hexadecimal. */
  readonly spool: string;
  /** The supplier's serial number. */
  readonly serial: string | undefined;
  readonly name: string;
  readonly grams: number | undefined;
  /** µm and kg/m³. */
  readonly diameter: number | undefined;
  readonly density: number | undefined;
}

/** A spool whose proof has been verified. */
export interface LoadedSpool extends SpoolFacts {
  readonly load: SpoolLoad;
  /** The machine's cloud, if it is another one. */
  readonly cloud?: string | undefined;
  /** Absent when the operator only described the spool. */
  readonly certified: CertifiedMaterial | undefined;
  /** Who stated that it is loaded. */
  readonly operator: {
    readonly key: string;
    readonly name: string;
    readonly organisation: string | undefined;
    readonly organisationName: string | undefined;
  };
}

export const nameOfMaterial = (material: LicensedMaterial): string =>
  typeof material === 'string' ? material : material.name;

/** A licensed material, for people. Suppliers are named by their identifiers, which the owner has signed. */
export const materialWords = (material: LicensedMaterial): string =>
  typeof material === 'string' ? material : `${material.name} certified by ${material.suppliers.join(' or ')}`;

/** Whether the licence allows this material only if a supplier certifies it. */
export function wantsCertified(
  { materials }: Pick<TransactionOf<'licence.grant'>, 'materials'>,
  name: string,
): boolean {
  const fitting = materials.filter((material) => nameOfMaterial(material) === name);
  return fitting.length > 0 && fitting.every((material) => typeof material !== 'string');
}

/** Reads a statement without verifying it. @throws {MillraceError} E_SIGNATURE, E_INPUT */
export function readSpoolLoad(load: Uint8Array): SpoolLoad {
  const body = readTransaction(load);
  if (body.type !== 'spool.load') throw new MillraceError('E_INPUT', 'not a statement that a spool is loaded');
  return body;
}

/** The spool that a statement names. Verifies nothing. @throws {MillraceError} E_SIGNATURE, E_INPUT */
export function spoolFacts({ id, certificate, description }: SpoolLoad): SpoolFacts {
  if (certificate === undefined) {
    const { name = '', grams, diameter, density } = description ?? {};
    return { spool: toHex(id), serial: undefined, name, grams, diameter, density };
  }
  const { id: spool, spool: serial, name, grams, diameter, density } = readMaterial(certificate);
  return { spool: toHex(spool), serial, name, grams, diameter, density };
}

/**
 * Verifies that an operator has stated that the spool is loaded on the machine and, if it has a certificate, that a
 * supplier has signed it.
 * @param cloud for which both have signed, if it is another one than the directory's
 * @throws {MillraceError} as `verifyMaterial`, E_FORBIDDEN (no operator, or another machine), E_INPUT (its number is ahead
 *   of its date: no later statement would count)
 */
export async function verifySpool(
  proof: SpoolProof,
  machine: string,
  directory: Named,
  cloud?: string,
): Promise<LoadedSpool> {
  const operator = await verifyCredential(proof.operator, directory);
  requireRole(operator, 'operator');
  const { body: load } = await verifyBy(operator, proof.load, signedFor(directory, cloud));
  if (load.type !== 'spool.load') throw new MillraceError('E_INPUT', 'not a statement that a spool is loaded');
  if (load.number > load.issued + CLOCK_SKEW_MS)
    throw new MillraceError('E_INPUT', 'the number of the statement is ahead of its date');
  if (load.machine !== machine) throw new MillraceError('E_FORBIDDEN', 'the spool is loaded on another machine');
  if ((load.certificate === undefined) !== (proof.supplier === undefined))
    throw new MillraceError('E_INPUT', 'a certificate comes with the credential of its supplier');
  const certified =
    load.certificate === undefined || proof.supplier === undefined
      ? undefined
      : await verifyMaterial(load.certificate, proof.supplier, directory, cloud);
  const { organisation, organisationName } = operator.member ?? {};
  const signer = { key: keyName(operator.publicKey), name: operator.name, organisation, organisationName };
  return { ...spoolFacts(load), load, certified, operator: signer, ...(cloud === undefined ? {} : { cloud }) };
}

/**
 * Checks the machine's material against the licence. A material that the licence wants certified needs a spool whose
 * certificate one of the licence's suppliers has signed, and that the holder's operator has loaded. Revocations and
 * dates count only when the object begins.
 * @param options.visiting for a machine of another cloud, whose spool counts only if the licence wants it certified
 * @returns the spool that the machine states, if it states one
 * @throws {MillraceError} E_MATERIAL, with the code of the cause
 */
export async function requireMaterial(
  request: Pick<PermitRequest, 'material' | 'spool' | 'load'>,
  { machine }: Pick<Machine, 'machine'>,
  terms: Pick<TransactionOf<'licence.grant'>, 'materials' | 'holder'>,
  {
    directory,
    now,
    begins,
    visiting,
  }: {
    readonly directory: Named;
    readonly now: number;
    readonly begins: boolean;
    readonly visiting?: VisitingSpool | undefined;
  },
): Promise<LoadedSpool | undefined> {
  const { materials, holder } = terms;
  const wants = wantsCertified(terms, request.material);
  if (visiting !== undefined && request.spool !== undefined)
    throw refusal('a machine of another cloud states its spool as it is loaded there');
  if (visiting === undefined && request.load !== undefined)
    throw refusal('a machine of this cloud states its spool with the credentials of its signers');
  const proof = visiting === undefined ? request.spool : wants ? shownProof(request.load, visiting, begins) : undefined;
  const counting = begins ? directory : ignoringRevocations(directory);
  const spool = proof && (await provenSpool(proof, machine, counting, visiting?.cloud));
  if (spool !== undefined && spool.name !== request.material)
    throw refusal(`the machine states ${request.material}, but its spool is ${spool.name}`);
  if (begins && spool?.certified !== undefined) requireUnexpired(spool.certified, now);
  if (!wants) return spool;
  const certified = materials
    .filter((material) => typeof material !== 'string')
    .filter(({ name }) => name === request.material);
  const wanted = certified.map(materialWords).join(' or ');
  const load = 'the operator loads such a spool: `millrace spool load`';
  if (spool?.certified === undefined)
    throw refusal(`the licence allows ${wanted}, and no certified spool is loaded: ${load}`);
  const { operator } = spool;
  const { supplier } = spool.certified;
  if (!actsFor(operator, holder))
    throw refusal(`the spool was loaded by ${operator.name}, who does not act for the licence’s holder: ${load}`);
  if (certified.some(({ suppliers }) => suppliers.includes(supplier.organisation))) return spool;
  throw refusal(
    `the licence allows ${wanted}; spool ${spool.serial} is certified by ${supplier.name} (${supplier.organisation}): ${load}`,
  );
}

/** The holder answers for what is loaded: its operators, or the one key that is the holder. */
function actsFor({ key, organisation }: LoadedSpool['operator'], holder: Uint8Array | string): boolean {
  return typeof holder === 'string' ? organisation === holder : key === keyName(holder);
}

/**
 * The spool of a machine of another cloud. The visa says which statement is the newest: an agent could show an older
 * one. An object that has begun may go on with another spool.
 * @throws {MillraceError} E_MATERIAL
 */
function shownProof(
  load: Uint8Array | undefined,
  { load: newest, signers }: VisitingSpool,
  begins: boolean,
): SpoolProof | undefined {
  if (load === undefined || signers === undefined) return undefined;
  if (begins && (newest === undefined || !equalBytes(newest, sha256(load))))
    throw refusal('the machine’s cloud states that another spool is loaded, or none');
  return { load: copyBytes(load), operator: copyBytes(signers.operator), supplier: copyBytes(signers.supplier) };
}

async function provenSpool(
  proof: SpoolProof,
  machine: string,
  directory: Named,
  cloud: string | undefined,
): Promise<LoadedSpool> {
  try {
    return await verifySpool(proof, machine, directory, cloud);
  } catch (cause) {
    if (!(cause instanceof MillraceError)) throw cause;
    throw new MillraceError('E_MATERIAL', `the loaded spool does not count: ${cause.message}`, {
      data: { cause: cause.code },
      cause,
    });
  }
}

function refusal(why: string): MillraceError {
  return new MillraceError('E_MATERIAL', why);
}
