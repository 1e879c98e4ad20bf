import { bytesOf } from '@millrace/base';
import { z } from 'zod';
import { common, identifier, machineKind } from './document-fields.ts';
import { displayName, groupKinds, memberPolicies } from './shapes.ts';

// Signed documents about groups of machines and sites, and the part of a licence that names them (groups.ts).

/** Maximum number of machines in a group. */
export const MAX_MEMBERS = 200;
/** Maximum number of groups in a licence. */
export const MAX_LICENSED_GROUPS = 32;

/**
 * Order of the statements on a group or a machine: the highest number takes precedence. Milliseconds since 1970 by the
 * signer's clock, or the previous number plus one, whichever is larger.
 */
const number = z.number().int().positive();

/** The administrator states which organisation holds a machine, as it is registered; none if `organisation` is absent. */
export const assignMachine = z.strictObject({
  type: z.literal('machine.assign'),
  ...common,
  machine: identifier,
  /** SHA-256 of the machine's registration. */
  registration: bytesOf(32),
  organisation: identifier.optional(),
  number,
});

/** An organisation states all members of a group of its machines. Creates the group, or replaces its members. */
export const setGroup = z.strictObject({
  type: z.literal('group.set'),
  ...common,
  organisation: identifier,
  /** 16 random bytes, the same in every statement on this group. */
  group: identifier,
  kind: z.enum(groupKinds),
  name: displayName,
  /** Address of a site. */
  address: displayName.optional(),
  number,
  machines: z
    .array(identifier)
    .max(MAX_MEMBERS)
    .refine((machines) => new Set(machines).size === machines.length, { error: 'a machine is listed twice' }),
});

/**
 * A group in a licence. `machines` says which members the licence is for: those that it names with this group, or any.
 * `kinds` limits any members to these kinds of machines.
 */
const licensedGroup = z.strictObject({
  organisation: identifier,
  group: identifier,
  machines: z.enum(memberPolicies),
  kinds: z.array(machineKind).min(1).max(16).optional(),
});
export type LicensedGroup = z.output<typeof licensedGroup>;

export const licensedGroups = z
  .array(licensedGroup)
  .max(MAX_LICENSED_GROUPS)
  .refine((groups) => new Set(groups.map(({ group }) => group)).size === groups.length, {
    error: 'a group is named twice',
  });
