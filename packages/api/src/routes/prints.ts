import { hexOf } from '@millrace/base';
import {
  MAX_SEALED_STATE,
  machineStateSchema,
  matrixInUseSchema,
  objectName,
  type PrintCommand,
} from '@millrace/protocol/shapes';
import { z } from 'zod';
import type { Action } from '../actions.ts';
import { base64, byId, failure, id, pageOf, pageQuery, party, signer, time, uint } from '../fields.ts';
import { bytes, empty, json, route } from '../route.ts';

/** Live figures of a running print, as reported by the segments node. */
export const progressBody = z.strictObject({
  acked: uint,
  revision: uint,
  matrix: matrixInUseSchema.optional(),
  machine: machineStateSchema.optional(),
  owner: z
    .strictObject({ session: hexOf(16), sealed: z.base64().max(2 * MAX_SEALED_STATE) })
    .optional()
    .describe('for the owner: where the machine is, sealed to the owner’s key and bound to the session'),
});
export type Progress = z.output<typeof progressBody>;

/** The part of the machine's state that the licence discloses. */
const machineState = z.object({
  ...machineStateSchema.partial().shape,
  temperatures: z.object(machineStateSchema.shape.temperatures.shape).optional().describe('°C, by heater'),
});
export type MachineStateView = z.output<typeof machineState>;

export const printAnswer = z.object({
  print: id,
  licence: id,
  design: id,
  machine: id,
  owner: party,
  holder: party,
  orderedBy: signer,
  state: z.enum(['queued', 'permitted', 'running', 'completed', 'failed', 'alarmed', 'refused', 'cancelled']),
  created: time,
  place: z.number().int().optional().describe('of a queued print: the machine makes the lowest place first'),
  startBy: time.describe('a print that has not started by then is refused: a person has to request it again'),
  object: objectName.optional(),
  ...failure,
  next: z.string().optional().describe('after a refusal or failure: who must do what'),
  cleared: z.boolean().optional().describe('the owner has cleared its alarm'),
  halt: z
    .object({ actor: z.string(), cause: z.string(), nextStep: z.string() })
    .optional()
    .describe('while its machine stands still: who has paused it, why, and what has to happen next'),
  segments: uint,
  progress: z
    .object({
      ...progressBody.partial().shape,
      machine: machineState.optional(),
      age: uint.optional().describe('since control got the newest figures, ms'),
      machineAge: uint.optional().describe('since control got what `machine` says, ms'),
    })
    .optional()
    .describe('while it runs; the holder sees what the licence discloses'),
});
export type PrintView = z.output<typeof printAnswer>;

export const objectAnswer = z.object({
  object: objectName,
  design: z.string().optional(),
  state: z.string(),
  life: z
    .object({
      owner: party.describe('of the part'),
      newest: base64.optional().describe('SHA-256 of the newest document of the life: the next one names it'),
      inspectors: z.array(party).describe('who may sign inspections for the owner'),
      offer: z
        .object({ to: party, transaction: base64, credential: base64 })
        .optional()
        .describe('a transfer that waits for its acceptance'),
      retired: z.boolean(),
    })
    .describe('the part after its completion'),
  events: z.array(
    z.object({
      index: uint,
      sequence: uint,
      type: z.string(),
      time,
      actor: z.string(),
      by: signer.optional().describe('the actor, if it is a user’s key'),
      body: z.record(z.string(), z.unknown()),
      report: z
        .object({ signed: base64, key: base64 })
        .optional()
        .describe('for the owner: the machine’s signed report, with a part sealed to the owner’s key'),
    }),
  ),
});
export type ObjectView = z.output<typeof objectAnswer>;

const callers = ['user'] as const;
const notYours = ['E_NOT_FOUND', 'E_FORBIDDEN'] as const;
const byObject = z.strictObject({ id: objectName });

/**
 * The path names the print: a page that shows an older state cannot command the machine's next print. The answer comes
 * when the machine has obeyed.
 */
const command = (name: PrintCommand, action: Action, summary: string) =>
  route('PUT', `/v1/prints/{id}/${name}`, {
    summary,
    callers,
    action,
    params: byId,
    body: json(z.strictObject({ transaction: base64.describe('`print.command`, see spec/protocol.md') })),
    answer: empty,
    maxBody: 16_384,
    errors: [
      ...notYours,
      'E_SIGNATURE',
      'E_EXPIRED',
      'E_CLOCK',
      'E_REPLAY',
      'E_STATE',
      'E_MACHINE',
      'E_QUOTA',
      'E_QUARANTINE',
    ],
  });

export const printRoutes = {
  list: route('GET', '/v1/prints', {
    summary: 'prints of own designs or licences',
    callers,
    action: 'print.list',
    query: pageQuery,
    answer: json(pageOf(printAnswer)),
  }),
  get: route('GET', '/v1/prints/{id}', {
    summary: 'one print, with live figures',
    callers,
    action: 'print.read',
    params: byId,
    answer: json(printAnswer),
    errors: notYours,
  }),
  pause: command('pause', 'print.pause', 'pause the machine that makes this print'),
  resume: command('resume', 'print.resume', 'end the pause of a running print that was made from elsewhere'),
  cancel: command('cancel', 'print.end', 'end a running print; its object is used'),
  stop: command('stop', 'print.stop', 'stop the machine that makes this print at once: the emergency stop'),
};

export const objectRoutes = {
  list: route('GET', '/v1/objects', {
    summary: 'objects of own designs or licences',
    callers,
    action: 'print.list',
    query: pageQuery,
    answer: json(pageOf(objectAnswer)),
  }),
  get: route('GET', '/v1/objects/{id}', {
    summary: 'life of one object',
    callers,
    action: 'object.read',
    params: byObject,
    answer: json(objectAnswer),
    errors: notYours,
  }),
  certificate: route('GET', '/v1/objects/{id}/certificate', {
    summary: 'portable certificate, spec/ledger.md',
    callers,
    action: 'object.read',
    params: byObject,
    answer: bytes,
    errors: notYours,
  }),
};
