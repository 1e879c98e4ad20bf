import { bytesOf, bytesUpTo } from '@millrace/base';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { MAX_MEMBERS } from './group-documents.ts';

// Signed settings of machines, sent by the organisation that holds them (spec/settings.md).

/** Maximum length of a safety policy in a statement, bytes of CBOR. */
export const MAX_POLICY_BYTES = 16_384;

/** What may be set from elsewhere. What is absent has the value of the machine's own files. */
export const remoteSettingsSchema = z.strictObject({
  /** A safety policy, CBOR (docs/machines.md). The machine's own policy holds as well: what both allow is allowed. */
  safety: bytesUpTo(MAX_POLICY_BYTES).optional(),
  /** A stream is resumed after this much silence while something is due; ms. */
  stallMs: z.number().int().min(100).max(600_000).optional(),
  /** A print fails after receiving nothing that was due for this long; ms. */
  giveUpMs: z.number().int().min(100).max(86_400_000).optional(),
  /** Instructions that the driver buffers ahead of its machine, bytes. */
  bufferBytes: z.number().int().min(1_024).max(1_048_576).optional(),
});
export type RemoteSettings = z.output<typeof remoteSettingsSchema>;

/**
 * All settings of these machines that are set from elsewhere, by an owner-admin or operator of the organisation that
 * holds them. Replaces those of every earlier statement.
 */
export const setMachineSettings = z.strictObject({
  type: z.literal('machine.settings'),
  ...common,
  organisation: identifier,
  /** As for groups: milliseconds since 1970 by the signer's clock, or the previous number plus one. */
  number: z.number().int().positive(),
  machines: z
    .array(identifier)
    .min(1)
    .max(MAX_MEMBERS)
    .refine((machines) => new Set(machines).size === machines.length, { error: 'a machine is listed twice' }),
  settings: remoteSettingsSchema,
});

/** A machine says whether it works by a statement from now on, or why not. */
export const settingsReport = z
  .strictObject({
    type: z.literal('settings.report'),
    ...common,
    machine: identifier,
    /** SHA-256 of the statement, and its number. */
    statement: bytesOf(32),
    number: z.number().int().positive(),
    outcome: z.enum(['applied', 'refused']),
    code: z.string().max(40).optional(),
  })
  .refine(({ outcome, code }) => (outcome === 'refused') === (code !== undefined), 'outcome and code contradict');
