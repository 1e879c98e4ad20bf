import { bytesOf } from '@millrace/base';
import { z } from 'zod';
import { common, identifier } from './document-fields.ts';
import { rehearsalRules } from './shapes.ts';

// Signed documents of a rehearsal: whether a design fits a machine, found without its bytes (spec/rehearsal.md).

/** An operator of the licence's holder asks a machine whether the design fits. Counts no object. */
export const requestRehearsal = z.strictObject({
  type: z.literal('rehearsal.request'),
  ...common,
  licence: identifier,
  machine: identifier,
});

/** The machine's answer, for both sides. It names rules, no values: neither the design's nor those of the policy. */
export const rehearsalResult = z
  .strictObject({
    type: z.literal('rehearsal.result'),
    ...common,
    /** Id of the request, and SHA-256 of the signed request. */
    rehearsal: identifier,
    request: bytesOf(32),
    licence: identifier,
    design: identifier,
    machine: identifier,
    /** `refused`: the machine has not judged, for the reason of `code`. */
    outcome: z.enum(['fits', 'does-not-fit', 'refused']),
    /** Rules that the design violates. */
    rules: z.array(z.enum(rehearsalRules)).max(rehearsalRules.length),
    /** Whether the machine has a safety policy. Without one, only kind, material and spool were compared. */
    policy: z.boolean(),
    code: z.string().max(40).optional(),
  })
  .refine(({ outcome, rules }) => (outcome === 'does-not-fit') === rules.length > 0, 'outcome and rules contradict')
  .refine(({ outcome, code }) => (outcome === 'refused') === (code !== undefined), 'outcome and code contradict');
