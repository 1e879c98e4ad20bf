import { bytesUpTo } from '@millrace/base';
import { z } from 'zod';
import { common, identifier, materialName } from './document-fields.ts';
import { displayName, materialForms } from './shapes.ts';

// Signed documents about materials (materials.ts, spools.ts). A certificate is printed on its spool, so texts are short.

/** Text that is printed on a label. */
const labelled = (most: number) => displayName.max(most);

/**
 * A supplier certifies one spool (or bottle, bag, bar). The document's id is the id of the spool. Its `expires` limits
 * only its delivery to control; objects may begin with the spool until `until`.
 */
export const certifyMaterial = z
  .strictObject({
    type: z.literal('material.certify'),
    ...common,
    name: labelled(32),
    batch: labelled(24),
    /** The supplier's serial number of the spool. */
    spool: labelled(24),
    /** Net weight. */
    grams: z.number().int().min(1).max(1_000_000),
    form: z.enum(materialForms),
    /** µm; of filament only. */
    diameter: z.number().int().min(100).max(10_000).optional(),
    /** kg/m³; at least for filament, because grams are computed from it. */
    density: z.number().int().min(10).max(30_000).optional(),
    made: common.issued,
    until: common.expires,
    properties: z
      .record(labelled(16), labelled(32))
      .refine((properties) => Object.keys(properties).length <= 8, { error: 'at most 8 properties' })
      .optional(),
  })
  .refine(({ form, diameter, density }) => form !== 'filament' || (diameter !== undefined && density !== undefined), {
    error: 'a filament has a diameter and a density',
  });

/** A spool without a certificate, as its tag or its operator describes it. Nobody but the operator answers for it. */
export const spoolDescription = z.strictObject({
  name: labelled(32),
  brand: labelled(32).optional(),
  /** The manufacturer's name of the product. */
  product: labelled(32).optional(),
  grams: z.number().int().min(1).max(1_000_000).optional(),
  diameter: z.number().int().min(100).max(10_000).optional(),
  density: z.number().int().min(10).max(30_000).optional(),
});
export type SpoolDescription = z.output<typeof spoolDescription>;

/** A certificate is printed as a code, so it is short. */
const MAX_CERTIFICATE = 1_024;

/**
 * Order of the operators' statements on a spool: the highest number counts. Milliseconds since 1970 by the operator's
 * clock, or the previous number plus one, whichever is larger.
 */
const statement = { ...common, machine: identifier, number: z.number().int().positive() };

/** An operator states that the spool is loaded on the machine. */
export const loadSpool = z
  .strictObject({
    type: z.literal('spool.load'),
    ...statement,
    certificate: bytesUpTo(MAX_CERTIFICATE).optional(),
    description: spoolDescription.optional(),
  })
  .refine(({ certificate, description }) => (certificate === undefined) !== (description === undefined), {
    error: 'expected a certificate or a description',
  });

/** An operator states that the spool is no longer loaded on the machine. */
export const unloadSpool = z.strictObject({
  type: z.literal('spool.unload'),
  ...statement,
  /** Id of the certificate; without one, of the first `spool.load`. */
  spool: identifier,
});

/** Maximum bytes of a credential: 17 documents. */
const MAX_CREDENTIAL = 8_192;

/** Maximum bytes of a `spool.load`. */
const MAX_LOAD = MAX_CERTIFICATE + 1_024;

/** Everything that proves which spool is loaded. Part of the machine's request. */
export const spoolProof = z.strictObject({
  /** `spool.load`, and the credential of its signer. */
  load: bytesUpTo(MAX_LOAD),
  operator: bytesUpTo(MAX_CREDENTIAL),
  /** Credential of the certificate's signer. */
  supplier: bytesUpTo(MAX_CREDENTIAL).optional(),
});
export type SpoolProof = z.output<typeof spoolProof>;

/** The loaded spool in a machine's request. */
export const spoolInRequest = {
  /** By an operator's statement, with its proof. */
  spool: spoolProof.optional(),
  /** Instead of it, at another cloud than the machine's: the `spool.load` of a certified spool, signed for the machine's. */
  load: bytesUpTo(MAX_LOAD).optional(),
};

/** A material of a licence: any of this name, or one that one of these suppliers certifies. */
export const licensedMaterial = z.union([
  materialName,
  z.strictObject({ name: materialName, suppliers: z.array(identifier).min(1).max(16) }),
]);
export type LicensedMaterial = z.output<typeof licensedMaterial>;

const count = z.number().int().nonnegative();

/**
 * What a machine has done in its life, as its agent counts it. Rounded down, because exact figures would tell the cloud
 * more of the designs. Every figure only grows.
 */
export const odometerSchema = z.strictObject({
  /** Minutes of motion. */
  minutes: count,
  /** Minutes with the spindle or the laser on; absent until the machine has had one on. */
  spindle: count.optional(),
  /** Metres and grams of material. */
  metres: count,
  grams: count,
  /** Objects that began to move the machine, and objects that have ended. */
  started: count,
  ended: count,
});
export type Odometer = z.output<typeof odometerSchema>;

/** Material of one object, from one spool, rounded up. */
export const usedSchema = z.strictObject({ spool: identifier, metres: count, grams: count });

/**
 * An owner has looked into an alarm about a machine's odometer. Objects of the owner's licences may begin on it again.
 */
export const clearOdometer = z.strictObject({
  type: z.literal('odometer.clear'),
  ...common,
  machine: identifier,
  /** A licence of the owner that names the machine. */
  licence: identifier,
  alarm: identifier,
});
