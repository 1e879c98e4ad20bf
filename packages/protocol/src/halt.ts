import { z } from 'zod';

/** A text of the machine or its operator. */
export const haltText = z
  .string()
  .min(1)
  .max(200)
  .regex(/^\P{C}*$/u, { error: 'expected a text without control characters' });

/** Why a machine stands still, and what has to happen next. */
export const haltSchema = z.strictObject({
  /** The agent by itself, its operator, the owner of the design, the controller, a person at the machine. */
  actor: z.enum(['agent', 'operator', 'owner', 'controller', 'person']),
  cause: haltText,
  nextStep: haltText,
});
export type Halt = z.output<typeof haltSchema>;

/** In a report. */
export const haltFacts = {
  /** A pause (`progressed`), or an end by the operator (`failed`). */
  halt: haltSchema.optional(),
  /** The end of a pause (`progressed`). */
  resumed: z.literal(true).optional(),
};
