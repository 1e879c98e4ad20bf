import { type Bytes, MillraceError, toHex } from '@millrace/base';
import { keyName } from '@millrace/identity';
import { verifyBy } from './acting.ts';
import { fromBase45, toBase45 } from './base45.ts';
import { requireRole, verifyCredential } from './credentials.ts';
import { CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { readTransaction, type TransactionOf } from './documents.ts';

// Materials are proven by the signature of their supplier. Every party that relies on a certificate verifies it here.

type Named = Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;

export type MaterialTerms = TransactionOf<'material.certify'>;

/** A spool whose certificate has been verified. */
export interface CertifiedMaterial {
  /** Id of the spool: the id of its certificate, hexadecimal. */
  readonly spool: string;
  readonly terms: MaterialTerms;
  readonly supplier: {
    readonly organisation: string;
    readonly name: string;
    /** The person who signed, and the name of the key. */
    readonly person: string;
    readonly key: string;
  };
}

/**
 * Verifies a certificate to the administrator's key: a certifier of an organisation of kind supplier has signed it with
 * a key that was in force and is not revoked. Does not check whether the certificate has expired.
 * @param supplier credential of the signer
 * @param cloud for which the supplier has signed, if it is another one than the directory's
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_REVOKED, E_FORBIDDEN (no certifier of a supplier), E_EXPIRED
 *   (signed after the key had expired)
 */
export async function verifyMaterial(
  certificate: Uint8Array,
  supplier: Uint8Array,
  directory: Named,
  cloud?: string,
): Promise<CertifiedMaterial> {
  const signer = await verifyCredential(supplier, directory);
  const { member } = signer;
  if (member === undefined || !member.kinds.includes('supplier'))
    throw new MillraceError('E_FORBIDDEN', `${signer.name} does not belong to a supplier`);
  requireRole(signer, 'certifier');
  const { body: terms } = await verifyBy(signer, certificate, signedFor(directory, cloud));
  if (terms.type !== 'material.certify') throw new MillraceError('E_INPUT', 'not a material certificate');
  if (terms.issued > signer.until)
    throw new MillraceError('E_EXPIRED', 'the supplier’s key had expired when it signed the material certificate');
  return {
    spool: toHex(terms.id),
    terms,
    supplier: {
      organisation: member.organisation,
      name: member.organisationName,
      person: signer.name,
      key: keyName(signer.publicKey),
    },
  };
}

/** The same trust, for documents that are signed for another cloud. */
export function signedFor({ installation, adminKey, revocations }: Named, cloud: string | undefined): Named {
  return { installation: cloud ?? installation, adminKey, revocations };
}

/** Reads a certificate without verifying it. @throws {MillraceError} E_SIGNATURE, E_INPUT */
export function readMaterial(certificate: Uint8Array): MaterialTerms {
  const terms = readTransaction(certificate);
  if (terms.type !== 'material.certify') throw new MillraceError('E_INPUT', 'not a material certificate');
  return terms;
}

/** Upper case, so that a QR code encodes all of the text in its alphanumeric mode. */
const PREFIX = 'MILLRACE-MATERIAL:1:';

/** Text of the code on a spool: the whole certificate. */
export function materialText(certificate: Uint8Array): string {
  return `${PREFIX}${toBase45(certificate)}`;
}

export function isMaterialText(text: string): boolean {
  return text.trim().startsWith(PREFIX);
}

/** The certificate in the text of a code. @throws {MillraceError} E_INPUT */
export function parseMaterialText(text: string): Bytes {
  if (!isMaterialText(text)) throw new MillraceError('E_INPUT', `not the code of a spool (${PREFIX}…)`);
  return fromBase45(text.trim().slice(PREFIX.length));
}

/** Checks that an object may begin with the material now. @throws {MillraceError} E_MATERIAL */
export function requireUnexpired(
  { terms, supplier }: Pick<CertifiedMaterial, 'terms' | 'supplier'>,
  now: number,
): void {
  if (now <= terms.until + CLOCK_SKEW_MS) return;
  const day = new Date(Math.min(terms.until, 8.64e15)).toISOString().slice(0, 10);
  throw new MillraceError(
    'E_MATERIAL',
    `spool ${terms.spool} (${terms.name} of ${supplier.name}) expired on ${day}: load another spool`,
  );
}
