import type { MaterialView } from '@millrace/api';
import { type Bytes, fromBase64, MillraceError, toHex } from '@millrace/base';
import { parseSign1 } from '@millrace/identity';
import {
  type CertifiedMaterial,
  type LicensedMaterial,
  type MaterialTerms,
  requireUnexpired,
  verifyMaterial,
} from '@millrace/protocol';
import { organisationNames, verifyKeyView, verifyOrganisation } from './people.ts';
import { pick } from './pick.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

/** What a supplier states about one spool. */
export type NewMaterial = Omit<MaterialTerms, 'type' | 'id' | 'issued' | 'expires'>;

/**
 * Signs the certificate of one spool and submits it to control, which lists it for the supplier.
 * @returns the certificate, for the code on the spool
 * @throws {MillraceError} E_FORBIDDEN if the user is no certifier of a supplier; E_INPUT
 */
export async function certifyMaterial(
  session: Session,
  material: NewMaterial,
): Promise<{ readonly spool: string; readonly certificate: Bytes }> {
  const { id, bytes } = await signNew(session, { type: 'material.certify', ...material });
  await session.api.submit(bytes);
  return { spool: id, certificate: bytes };
}

/**
 * Verifies a certificate that was read from a spool. Control provides the signer's credential, which the
 * administrator's key proves.
 * @throws {MillraceError} E_NOT_FOUND if control does not know the signer; as `verifyMaterial`; E_EXPIRED
 */
export async function checkMaterial(session: Session, certificate: Uint8Array): Promise<CertifiedMaterial> {
  const view = await session.api.key(toHex(parseSign1(certificate).keyId));
  await verifyKeyView(session, view);
  const material = await verifyMaterial(certificate, fromBase64(view.credential), session.directory);
  requireUnexpired(material, session.clock.now());
  return material;
}

/** Certificates of the user's own organisation, verified. */
export async function ownMaterials(
  session: Session,
): Promise<readonly (CertifiedMaterial & { readonly certificate: Bytes })[]> {
  const verified = async ({ certificate, supplier }: MaterialView) => {
    const bytes = fromBase64(certificate);
    return { ...(await verifyMaterial(bytes, fromBase64(supplier), session.directory)), certificate: bytes };
  };
  return Promise.all((await session.api.materials()).map(verified));
}

/**
 * Materials of a licence. Suppliers are found by control's list and verified by the administrator's registration.
 * @throws {MillraceError} E_NOT_FOUND, E_INPUT (no supplier, or suppliers without a material)
 */
export async function licensedMaterials(
  session: Session,
  { materials, suppliers = [] }: { readonly materials: readonly string[]; readonly suppliers?: readonly string[] },
): Promise<LicensedMaterial[]> {
  if (suppliers.length === 0) return [...materials];
  if (materials.length === 0) throw new MillraceError('E_INPUT', 'name the material that the supplier certifies');
  const organisations = await session.api.organisations();
  const named: string[] = [];
  for (const supplier of suppliers) {
    const view = pick('supplier', supplier, organisations, organisationNames);
    const { organisation, name, kinds } = await verifyOrganisation(view, session.directory);
    if (!kinds.includes('supplier')) throw new MillraceError('E_INPUT', `${name} is no supplier: ${kinds.join(', ')}`);
    named.push(organisation);
  }
  return materials.map((name) => ({ name, suppliers: named }));
}
