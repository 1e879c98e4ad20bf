import type { LicenceView } from '@millrace/api';
import { type Bytes, MillraceError, toHex, wipe } from '@millrace/base';
import {
  type CreditPolicy,
  type Disclosure,
  type LicensedPackage,
  licenceSecretInfo,
  type Price,
  sha256,
  type TransferPolicy,
  usualDisclosures,
} from '@millrace/protocol';
import { sealAttachment } from './attachments.ts';
import { type LicensedWhere, licensedMachines, type WhereTerms } from './licensed-machines.ts';
import { licensedMaterials } from './materials.ts';
import { ownDesign, secretsForMachines } from './own-design.ts';
import { sealingPoint } from './owner-view.ts';
import { licenceHolder } from './people.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

const DAY_MS = 86_400_000;

export interface LicenceTerms extends WhereTerms {
  /** Full identifier of the design. */
  readonly design: string;
  readonly objects: number;
  /** An empty list allows every material. */
  readonly materials: readonly string[];
  /** Names or identifiers of suppliers, one of whom has to certify the material. Default: nobody need certify it. */
  readonly suppliers?: readonly string[];
  readonly days: number;
  /** Who may order prints: an organisation by name or identifier, a contact by name, or a key by its name. */
  readonly holder: string;
  /** What the holder may see of a running print. Default: nothing of the design. */
  readonly disclose?: readonly Disclosure[];
  /** Whether the holder may transfer what is left. Default: not at all. */
  readonly transfer?: TransferPolicy | undefined;
  /** Default: none. */
  readonly price?: Price | undefined;
  /** Which failed objects the licence credits by itself. Default: none. */
  readonly creditPolicy?: CreditPolicy | undefined;
}

/**
 * Signs a licence: binds it to the design's core, seals its secret to the keys node and the design secret to each
 * machine, or the key of the design's envelope if machines get the secret otherwise.
 * @returns the licence's identifier
 * @throws {MillraceError} E_NOT_FOUND, E_FORBIDDEN, E_SEGMENT, E_SIGNATURE or E_AUTH for a machine that the
 *   administrator did not register
 */
export async function grantLicence(session: Session, terms: LicenceTerms): Promise<string> {
  return (await grant(session, terms)).id;
}

/** Makes the package of a licence. @param granted its identifier, and its secret, which is wiped afterwards */
export type PackageMaker = (granted: {
  readonly licence: string;
  readonly secret: Uint8Array;
}) => Promise<LicensedPackage>;

/**
 * Signs a licence, for streams or for a job package. The design secret of a package is in the package only.
 * @throws {MillraceError} as `grantLicence`
 */
export async function grant(
  session: Session,
  terms: LicenceTerms,
  makePackage?: PackageMaker,
): Promise<{ readonly id: string; readonly bytes: Bytes }> {
  const { api, clock, random } = session;
  const design = await ownDesign(session, terms.design);
  const id = random(16);
  const secrets = await secretsForMachines(session, design, { isPackaged: makePackage !== undefined });
  const secret = random(32);
  let sealed: Bytes;
  let where: LicensedWhere;
  let packaged: LicensedPackage | undefined;
  try {
    sealed = await sealAttachment(session, terms.design, licenceSecretInfo(terms.design, design.owner), secret);
    const sealing = { licence: toHex(id), design: terms.design, ...secrets };
    where = await licensedMachines(session, terms, sealing);
    packaged = await makePackage?.({ licence: toHex(id), secret });
  } finally {
    wipe(secret, secrets.secret, secrets.envelopeKey);
  }
  const now = clock.now();
  const transaction = await signNew(
    session,
    {
      type: 'licence.grant',
      design: terms.design,
      core: design.coreHash,
      objects: terms.objects,
      ...where,
      materials: await licensedMaterials(session, terms),
      // A node's clock may be behind the owner's.
      notBefore: Math.max(0, Math.min(now - DAY_MS, terms.price?.per === 'period' ? terms.price.start : now)),
      notAfter: now + Math.ceil(terms.days * DAY_MS),
      holder: await licenceHolder(session, terms.holder),
      secretHash: sha256(sealed),
      telemetryKey: await sealingPoint(session),
      disclose: [...(terms.disclose ?? usualDisclosures)],
      ...(terms.transfer && { transfer: terms.transfer }),
      ...(terms.price && { price: terms.price }),
      ...(terms.creditPolicy && { creditPolicy: terms.creditPolicy }),
      ...(packaged && { package: packaged }),
    },
    id,
  );
  await api.submit(transaction.bytes, { secret: sealed });
  return transaction;
}

/**
 * Signs how many objects of a suspended licence are left.
 * @throws {MillraceError} E_STATE if the licence does not wait for this, E_INPUT if the number is too high
 */
export async function resumeLicence(session: Session, view: LicenceView, objects: number): Promise<void> {
  const { licence, suspended } = view;
  if (suspended === undefined) throw new MillraceError('E_STATE', `licence ${licence} is not suspended`);
  if (objects > suspended.most)
    throw new MillraceError('E_INPUT', `at most ${suspended.most} objects of licence ${licence} can be left`);
  const { restore } = suspended;
  const { bytes } = await signNew(session, { type: 'licence.resume', licence, restore, objects });
  await session.api.submit(bytes);
}
