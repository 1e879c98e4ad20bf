import { z } from 'zod';
import { base64, byId, bytesField, id, signer, time, uint } from '../fields.ts';
import { json, route } from '../route.ts';

export const settingsAnswer = z.object({
  machine: id,
  organisation: id.describe('that holds the machine and has signed them'),
  number: uint.describe('of the newest settings'),
  created: time,
  state: z.enum(['pending', 'applied', 'refused']).describe('by the machine’s signed report'),
  code: z.string().optional().describe('why the machine refused them'),
  setBy: signer,
  document: base64.describe('`machine.settings`, as it was signed'),
  credential: base64.describe('credential of the signer: proof to the administrator’s key'),
  report: base64.optional().describe('the machine’s signed report: the caller must verify it'),
  previous: z
    .object({ number: uint, document: base64 })
    .optional()
    .describe('the settings that the machine had applied before'),
});
export type SettingsView = z.output<typeof settingsAnswer>;

export const settingsRoutes = {
  get: route('GET', '/v1/machines/{id}/settings', {
    summary: 'a machine’s newest settings from elsewhere, for the organisation that holds it and the administrator',
    callers: ['user'],
    action: 'settings.read',
    params: byId,
    answer: json(settingsAnswer),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};

const attested = z.strictObject({ transaction: bytesField, credential: bytesField });

/** Settings for a machine, with what proves them. */
export const settingsWork = z.strictObject({
  statement: attested,
  assignment: bytesField,
  machine: z.record(z.string(), z.unknown()),
});
