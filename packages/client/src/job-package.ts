import { copyBytes, equalBytes, fromBase64, fromHex, MillraceError, wipe } from '@millrace/base';
import { keyName } from '@millrace/identity';
import {
  chooseNode,
  type DirectoryNode,
  keysShareOf,
  nodesOf,
  packageCommitment,
  packageKey,
  sealPackageShare,
  sha256,
  verifyDriverKey,
} from '@millrace/protocol';
import { packageEnd, packageStart, readManifest, sealPackageKeys } from '@millrace/vault';
import { grant, type LicenceTerms, type PackageMaker } from './licence.ts';
import { namedMachines, type WhereTerms } from './licensed-machines.ts';
import type { DesignSecrets } from './prepare.ts';
import type { PreparedDesign } from './prepared.ts';
import type { Session } from './session.ts';
import { announceDesign } from './upload.ts';

export interface PackageTerms extends Omit<LicenceTerms, 'design' | keyof WhereTerms> {
  /** Name, serial number or identifier of the machine. */
  readonly machine: string;
  /** The driver's key, as the machine has signed it (`millrace driver key`). */
  readonly driver: Uint8Array;
}

export interface PackageJob {
  readonly terms: PackageTerms;
  /** Seals the design, with the owner's custody. Its segments do not leave this computer but in the package. */
  seal(take: (secrets: DesignSecrets) => void): Promise<PreparedDesign>;
  /** Receives the package, in order. */
  write(bytes: Uint8Array): Promise<void>;
  progress(done: number, total: number): void;
}

export interface CreatedPackage {
  readonly design: string;
  readonly licence: string;
  readonly segments: number;
}

/**
 * Seals a design into a job package and licenses it: for one driver, one machine and a number of objects. The cloud gets
 * its manifest, its content keys and its share of the package's key, and no segment.
 * @throws {MillraceError} E_PACKAGE_MACHINE, E_EXPIRED, E_SIGNATURE for the driver's key; as `prepare`, `grantLicence`
 */
export async function createPackage(session: Session, job: PackageJob): Promise<CreatedPackage> {
  const { directory, clock, api, signer } = session;
  const { machine: name, driver: document, ...terms } = job.terms;
  const [machine] = await namedMachines(session, [name]);
  if (machine === undefined || machine.cloud !== undefined)
    throw new MillraceError('E_INPUT', 'a job package is for one machine of this cloud');
  const driver = await verifyDriverKey(document, directory.installation, machine.publicKey, clock.now());
  let secrets: DesignSecrets | undefined;
  const prepared = await job.seal(({ designSecret, ceks }) => {
    secrets = { designSecret: copyBytes(designSecret), ceks: copyBytes(ceks) };
  });
  try {
    if (secrets === undefined) throw new MillraceError('E_INTERNAL', 'the design was sealed without its secrets');
    const sealed = secrets;
    const { design, segments } = prepared.state;
    await announceDesign(session, prepared);
    const { core } = readManifest(await prepared.manifest());
    const makePackage: PackageMaker = async ({ licence, secret }) => {
      const binding = { installation: directory.installation, licence, design };
      const [forDriver, forMachine, forSegments] = [session.random(32), session.random(32), session.random(32)];
      const forKeys = keysShareOf(secret, binding);
      const key = packageKey({ driver: forDriver, machine: forMachine, keys: forKeys, segments: forSegments }, binding);
      try {
        const toNode = (node: DirectoryNode) =>
          sealPackageShare('segments', fromHex(node.identity), binding, forSegments);
        const nodes = nodesOf(directory, 'segments');
        const each = nodes.map(async (node) => ({ key: keyName(fromHex(node.identity)), share: await toNode(node) }));
        return {
          driver,
          shares: {
            driver: await sealPackageShare('driver', driver, binding, forDriver),
            machine: await sealPackageShare('machine', machine.publicKey, binding, forMachine),
            segments: await toNode(chooseNode(directory, 'segments', design)),
            ...(nodes.length > 1 && { nodes: await Promise.all(each) }),
          },
          commitment: packageCommitment(key),
          keysHash: await writeContent(job, prepared, { ...sealed, key }),
        };
      } finally {
        wipe(forDriver, forMachine, forSegments, forKeys, key);
      }
    };
    const { id, bytes } = await grant(session, { ...terms, design, machines: [machine.machine] }, makePackage);
    const { credential } = await api.key(keyName(signer.publicKey));
    await job.write(packageEnd({ licence: bytes, signer: fromBase64(credential), core }));
    return { design, licence: id, segments };
  } finally {
    wipe(secrets?.designSecret, secrets?.ceks);
    await prepared.remove();
  }
}

/** Writes all of the package but its end. @returns SHA-256 of its sealed keys */
async function writeContent(
  { write, progress }: PackageJob,
  prepared: PreparedDesign,
  { key, designSecret, ceks }: DesignSecrets & { readonly key: Uint8Array },
) {
  const { hashes, segments } = readManifest(await prepared.manifest());
  await write(packageStart());
  const file = await prepared.openSegments();
  try {
    for (let segment = 0; segment < segments; segment++) {
      const sealed = await file.read(segment);
      // The copy on this computer's disk may have been damaged.
      if (!equalBytes(sha256(sealed), hashes.subarray(segment * 32, (segment + 1) * 32)))
        throw new MillraceError('E_SEGMENT', `the sealed copy of segment ${segment} was altered`);
      await write(sealed);
      progress(segment + 1, segments);
    }
  } finally {
    await file.close();
  }
  await write(hashes);
  const keys = sealPackageKeys(key, designSecret, ceks);
  await write(keys);
  return sha256(keys);
}
