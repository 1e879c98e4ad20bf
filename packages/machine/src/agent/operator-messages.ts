import { haltSchema } from '@millrace/protocol';
import { z } from 'zod';

/** Name of the agent's socket in its folder. */
export const SOCKET = 'agent.sock';

/** A command of the operator at the machine. One line of JSON each way, then the connection ends. */
export const operatorRequest = z.strictObject({
  command: z.enum(['status', 'pause', 'resume', 'cancel', 'stop']),
  /** Goes to the ledger with the print. */
  cause: haltSchema.shape.cause.optional(),
});
export type OperatorRequest = z.output<typeof operatorRequest>;

const statusSchema = z.strictObject({
  state: z.enum(['disconnected', 'idle', 'running', 'paused', 'failed', 'stopped', 'closed']),
  pause: haltSchema.optional(),
  /** The machine takes no work until it is resumed. */
  held: z
    .strictObject({ cause: z.string(), since: z.number(), remote: z.enum(['operator', 'owner']).optional() })
    .optional(),
  /** A print is under way. */
  prints: z.boolean(),
});
export type OperatorStatus = z.output<typeof statusSchema>;

export const operatorAnswer = z.union([
  z.strictObject({ status: statusSchema }),
  z.strictObject({ error: z.strictObject({ code: z.string(), message: z.string() }) }),
]);
