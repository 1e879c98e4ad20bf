import { z } from 'zod';
import { base64, byId, id, pageOf, pageQuery, time, uint } from '../fields.ts';
import { json, route } from '../route.ts';

export const machineAnswer = z.object({
  machine: id,
  serial: z.string(),
  kind: z.string(),
  profile: z.object({ factor: z.number(), bytesPerSecond: z.number().optional() }),
  token: z
    .object({ manufacturer: z.string(), model: z.string(), serial: z.string(), hardware: z.boolean() })
    .optional()
    .describe('the token that holds the machine’s key, as the administrator registered it; absent: a file'),
  registration: z.string().describe('SHA-256 of the registration: what a licence names'),
  document: base64.describe('the registration as the administrator of the machine’s cloud signed it'),
  online: z.boolean(),
  organisation: id.optional().describe('the organisation that holds it, by the administrator’s statement'),
  assignment: base64.optional().describe('`machine.assign`, as the administrator signed it'),
  assigned: uint.optional().describe('number of that statement'),
  cloud: id.optional().describe('the recognised cloud that the machine belongs to, if it is another one'),
  camera: z.boolean().optional().describe('its agent gives pictures to operators of the organisation that holds it'),
});
export type MachineView = z.output<typeof machineAnswer>;

const odometer = z.object({
  minutes: uint,
  spindle: uint.optional(),
  metres: uint,
  grams: uint,
  started: uint,
  ended: uint,
});

export const odometerAnswer = z.object({
  machine: id,
  last: odometer.describe('what the machine states of its life, rounded down'),
  at: time,
  running: z.boolean().describe('an object was permitted and has not ended'),
  counted: z
    .object({ ended: uint, metres: uint, grams: uint })
    .describe('by the reports in the ledger; material of objects with a stated spool, each rounded up'),
  alarm: z.object({ alarm: id, at: time, reason: z.string(), before: odometer, after: odometer.optional() }).optional(),
  cleared: z.array(id).describe('owners who have cleared the alarm'),
});
export type OdometerView = z.output<typeof odometerAnswer>;

export const machineRoutes = {
  odometer: route('GET', '/v1/machines/{id}/odometer', {
    summary: 'a machine’s odometer, for the parties to its licences and the administrator',
    callers: ['user'],
    action: 'odometer.read',
    params: byId,
    answer: json(odometerAnswer),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
  picture: route('POST', '/v1/machines/{id}/camera', {
    summary: 'a picture of the machine’s camera, for an operator of the organisation that holds it',
    callers: ['user'],
    action: 'camera.watch',
    params: byId,
    body: json(
      z.strictObject({
        watch: base64.describe('`camera.watch`, which counts until it expires'),
        nonce: id.describe('random: the picture is signed for it, so that it is newer than the request'),
      }),
    ),
    answer: json(
      z.strictObject({ picture: base64.describe('signed by the machine, and sealed to the key of the watch') }),
    ),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN', 'E_SIGNATURE', 'E_EXPIRED', 'E_CLOCK', 'E_STATE', 'E_QUOTA', 'E_MACHINE'],
  }),
  list: route('GET', '/v1/machines', {
    summary: 'registered machines',
    callers: ['user'],
    action: 'machine.read',
    query: pageQuery,
    answer: json(pageOf(machineAnswer)),
  }),
};
