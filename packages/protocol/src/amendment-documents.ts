import { bytesOf } from '@millrace/base';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { licensedGroups, MAX_LICENSED_GROUPS } from './group-documents.ts';
import { SEALED_SECRET_BYTES } from './sealed-keys.ts';

// Parts of licences, and the documents that amend them (amendments.ts).

/** Maximum number of machines in a licence. The licence must fit into a ledger entry. */
export const MAX_MACHINES = 200;

/**
 * Per machine: its id, the SHA-256 of its registration (which includes its speed), and the design secret sealed to its
 * key. The secret is absent if the keys node has custody, or a job package holds it: then there is the key of the design's
 * envelope, for rehearsals. `cloud` names the cloud of a machine that belongs to another
 * cloud. `groups` names groups of the licence: objects may begin on the machine while it is a member of one of them.
 */
export const licensedMachines = z
  .array(
    z.strictObject({
      machine: identifier,
      registration: bytesOf(32),
      secret: bytesOf(SEALED_SECRET_BYTES).optional(),
      envelopeKey: bytesOf(SEALED_SECRET_BYTES).optional(),
      cloud: identifier.optional(),
      groups: z
        .array(identifier)
        .min(1)
        .max(MAX_LICENSED_GROUPS)
        .refine((groups) => new Set(groups).size === groups.length, 'a group is named twice')
        .optional(),
    }),
  )
  .max(MAX_MACHINES)
  .refine(
    (machines) => new Set(machines.map(({ machine }) => machine)).size === machines.length,
    'a machine is named twice',
  );

/** An approver has seen this grant or extension, or the owner this transfer, and agrees to it. */
export const approveLicence = z.strictObject({
  type: z.literal('licence.approve'),
  ...common,
  licence: identifier,
  /** SHA-256 of the signed document. */
  document: bytesOf(32),
});

/** The owner adds machines and groups. The number of objects stays the same. */
export const extendLicence = z.strictObject({
  type: z.literal('licence.extend'),
  ...common,
  licence: identifier,
  machines: licensedMachines,
  groups: licensedGroups.optional(),
});

/** The holder gives the right to order the remaining objects to another holder. */
export const transferLicence = z.strictObject({
  type: z.literal('licence.transfer'),
  ...common,
  licence: identifier,
  /** Position in the chain of transfers, from 1. */
  number: z.number().int().positive(),
  /** The new holder: an organisation, by its identifier, or one secp256k1 key alone. */
  to: z.union([bytesOf(33), identifier]),
});
