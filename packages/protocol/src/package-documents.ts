import { bytesOf, hexOf } from '@millrace/base';
import { z } from 'zod';
import { common } from './document-fields.ts';
import { SEALED_SECRET_BYTES } from './sealed-keys.ts';

// Documents of job packages (spec/packages.md).

/** Segments nodes to which a share is sealed. */
const MAX_SHARE_NODES = 64;
const sealedShare = bytesOf(SEALED_SECRET_BYTES);

/**
 * The job package of a licence, which its owner signs with the licence. Objects of such a licence are made from the
 * package, and from nothing else.
 */
export const licensedPackage = z.strictObject({
  /** The driver's P-256 point, uncompressed. */
  driver: bytesOf(65),
  /** One share each, sealed to the driver, to the machine and to the segments node. The keys node derives its share. */
  shares: z.strictObject({
    driver: sealedShare,
    machine: sealedShare,
    segments: sealedShare,
    /** If there are several segments nodes: their share, sealed to each. `key`: key name of its identity. */
    nodes: z
      .array(z.strictObject({ key: hexOf(16), share: sealedShare }))
      .min(1)
      .max(MAX_SHARE_NODES)
      .optional(),
  }),
  /** Commits to the package's key. */
  commitment: bytesOf(32),
  /** SHA-256 of the sealed keys in the package. The core commits to the rest of it. */
  keysHash: bytesOf(32),
});

/** A driver's key, signed by the machine that it drives. Owners seal packages to it until `expires`. */
export const driverKey = z.strictObject({ type: z.literal('driver.key'), ...common, driver: bytesOf(65) });

/** Whether a licence that names a package names one machine of its cloud, and nothing else. */
export const isForOneMachine = (licence: {
  readonly package?: unknown;
  readonly machines: readonly { readonly cloud?: string | undefined }[];
  readonly groups?: unknown;
}): boolean => {
  const [machine, ...others] = licence.machines;
  const alone = machine !== undefined && machine.cloud === undefined && others.length === 0;
  return licence.package === undefined || (alone && licence.groups === undefined);
};
