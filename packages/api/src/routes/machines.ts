import { z } from 'zod';
import { base64, id, pageOf, pageQuery } from '../fields.ts';
import { json, route } from '../route.ts';

export const machineAnswer = z.object({
  machine: id,
  serial: z.string(),
  kind: z.string(),
  profile: z.object({ factor: z.number(), bytesPerSecond: z.number().optional() }),
  registration: z.string().describe('SHA-256 of the registration: what a licence names'),
  document: base64.describe('the registration as the administrator signed it'),
  online: z.boolean(),
});
export type MachineView = z.output<typeof machineAnswer>;

export const machineRoutes = {
  list: route('GET', '/v1/machines', {
    summary: 'registered machines',
    callers: ['user'],
    action: 'machine.read',
    query: pageQuery,
    answer: json(pageOf(machineAnswer)),
  }),
};
