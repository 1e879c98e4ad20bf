import { type Bytes, equalBytes, MillraceError, toHex, wipe } from '@millrace/base';
import { keyName, type P256Key } from '@millrace/identity';
import {
  CLOCK_SKEW_MS,
  type Directory,
  type LicensedPackage,
  materialWords,
  nameOfMaterial,
  openPackageShare,
  ownerParty,
  packagedMachine,
  type SecretBinding,
  type TransactionOf,
  verifyLicence,
} from '@millrace/protocol';
import type { PackageFile } from '@millrace/vault';
import { type Capabilities, canMake } from '../../drivers/contract.ts';
import type { MachineConfig } from '../config.ts';

/** What a package is checked against. */
export interface PackageChecks {
  readonly config: Pick<MachineConfig, 'machineKey'> & { readonly directory: Directory };
  readonly driverKey: P256Key;
  /** Name of the loaded material. */
  readonly material: string;
  /** What the machine can execute. */
  readonly capabilities: Pick<Capabilities, 'formats'>;
  readonly now: number;
  readonly signal?: AbortSignal | undefined;
}

/** A whole package of a licence that its owner has signed for this driver and this machine. */
export interface CheckedPackage {
  readonly file: PackageFile;
  /** Identifier. */
  readonly licence: string;
  readonly packaged: LicensedPackage;
  /** Hash of every sealed segment, 32 bytes each. */
  readonly hashes: Bytes;
  readonly binding: SecretBinding;
}

/** A package that a print is made from. */
export interface OpenPackage {
  readonly checked: CheckedPackage;
  readonly driverKey: P256Key;
}

/**
 * Checks a package before anything is asked of the cloud, so that a package that cannot be made costs no object: the
 * owner's signature, driver, machine, validity, kind, material, every byte of the file, and that driver and machine open
 * their shares.
 * @throws {MillraceError} E_PACKAGE (not whole, altered, or of another licence), E_PACKAGE_DRIVER, E_PACKAGE_MACHINE,
 *   E_EXPIRED, E_LICENCE_INVALID, E_MATERIAL, E_DESIGN_KIND, E_SEAL, and for the signature E_SIGNATURE, E_AUTH,
 *   E_FORBIDDEN, E_REVOKED
 */
export async function checkPackage(file: PackageFile, checks: PackageChecks): Promise<CheckedPackage> {
  const { config, driverKey, capabilities, signal } = checks;
  const { core, trailer } = file;
  const { directory, machineKey } = config;
  const granted = { transaction: trailer.licence, credential: trailer.signer };
  const { body: terms } = await verifyLicence(granted, ownerParty(core), directory);
  if (!equalBytes(terms.core, core.coreHash) || terms.design !== core.designId)
    throw new MillraceError('E_PACKAGE', 'the licence in the job package is for another design');
  const { machine, packaged } = packagedMachine(terms);
  const own = keyName(machineKey.publicKey);
  if (machine !== own)
    throw new MillraceError('E_PACKAGE_MACHINE', `the job package is for the machine ${machine}, this one is ${own}`, {
      data: { expected: machine, found: own },
    });
  if (!equalBytes(packaged.driver, driverKey.publicKey)) {
    const [expected, found] = [keyName(packaged.driver), keyName(driverKey.publicKey)];
    throw new MillraceError('E_PACKAGE_DRIVER', `the job package is for the driver ${expected}, this one is ${found}`, {
      data: { expected, found },
    });
  }
  requireUsable(terms, checks);
  if (!canMake(capabilities, core.kind))
    throw new MillraceError(
      'E_DESIGN_KIND',
      `the machine executes ${capabilities.formats.join(', ')}, not ${core.kind}`,
    );
  const hashes = await file.verify(packaged.keysHash, signal);
  const licence = toHex(terms.id);
  const binding = { installation: directory.installation, licence, design: terms.design };
  for (const share of Object.values(await openOwnShares(checks, packaged, binding))) wipe(share);
  return { file, licence, packaged, hashes, binding };
}

/** The shares that this computer opens, 32 bytes each; the caller wipes them. @throws {MillraceError} E_SEAL */
export async function openOwnShares(
  { config, driverKey }: Pick<PackageChecks, 'config' | 'driverKey'>,
  { shares }: LicensedPackage,
  binding: SecretBinding,
): Promise<{ readonly driver: Bytes; readonly machine: Bytes }> {
  const driver = await openPackageShare('driver', driverKey, binding, shares.driver);
  try {
    return { driver, machine: await openPackageShare('machine', config.machineKey, binding, shares.machine) };
  } catch (error) {
    wipe(driver);
    throw error;
  }
}

/** Validity and material. Control, both nodes and `checkPermit` check them again when the object is permitted. */
function requireUsable(
  { notBefore, notAfter, materials }: TransactionOf<'licence.grant'>,
  { now, material }: PackageChecks,
): void {
  if (now + CLOCK_SKEW_MS < notBefore)
    throw new MillraceError('E_LICENCE_INVALID', 'the licence of the job package is not valid yet');
  if (now > notAfter)
    throw new MillraceError('E_EXPIRED', `the job package was valid until ${new Date(notAfter).toISOString()}`);
  if (materials.length > 0 && !materials.some((allowed) => nameOfMaterial(allowed) === material)) {
    const allowed = materials.map(materialWords).join(', ');
    throw new MillraceError('E_MATERIAL', `the job package allows ${allowed}; ${material} is loaded`);
  }
}
