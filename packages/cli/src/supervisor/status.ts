import { parse } from '@millrace/base';
import { readJsonIfThere } from '@millrace/client/node';
import { z } from 'zod';
import { lockHolder } from './lock.ts';
import type { RunPaths } from './run-paths.ts';

const processSchema = z.strictObject({
  name: z.string(),
  state: z.enum(['starting', 'running', 'waiting', 'stopped']),
  pid: z.number().int().nullable(),
  restarts: z.number().int().nonnegative(),
  since: z.string(),
  lastExit: z
    .strictObject({ code: z.number().int().nullable(), signal: z.string().nullable(), time: z.string() })
    .nullable(),
});

const statusSchema = z.strictObject({
  supervisor: z.number().int(),
  started: z.string(),
  processes: z.array(processSchema),
});

/** run/status.json: the supervisor's status of its processes. */
export type SupervisorStatus = z.output<typeof statusSchema>;

/** Undefined if no supervisor runs. The file of a dead supervisor is ignored. */
export async function readSupervisorStatus(run: RunPaths): Promise<SupervisorStatus | undefined> {
  const holder = await lockHolder(run.lock);
  if (holder === undefined) return undefined;
  const json = await readJsonIfThere(run.status);
  if (json === undefined) return undefined;
  const status = parse(statusSchema, json, 'run/status.json', 'E_CONFIG');
  return status.supervisor === holder ? status : undefined;
}
