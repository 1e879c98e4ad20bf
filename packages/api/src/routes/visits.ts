import { z } from 'zod';
import { byId, bytesField, failure, id, pageOf, pageQuery, time } from '../fields.ts';
import { cbor, json, route } from '../route.ts';
import { machineCallRoutes } from './nodes.ts';

// Machines that make objects of another cloud. Control of the machine's cloud serves `visits` and `visas`, control of
// the design's cloud serves `visitorCalls`.

export const visitAnswer = z.object({
  visit: id,
  cloud: id.describe('the cloud that has the design'),
  print: id.describe('the print there'),
  licence: id.describe('the licence there'),
  machine: id,
  state: z.enum(['queued', 'admitted', 'running', 'completed', 'failed', 'refused', 'cancelled']),
  created: time,
  startBy: time,
  ...failure,
  next: z.string().optional().describe('after a refusal or failure: who must do what'),
});
export type VisitView = z.output<typeof visitAnswer>;

const users = ['user'] as const;

export const visitRoutes = {
  list: route('GET', '/v1/visits', {
    summary: 'visits that the user has requested',
    callers: users,
    action: 'visit.list',
    query: pageQuery,
    answer: json(pageOf(visitAnswer)),
  }),
  get: route('GET', '/v1/visits/{id}', {
    summary: 'one visit',
    callers: users,
    action: 'visit.read',
    params: byId,
    answer: json(visitAnswer),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};

const callers = ['distribution'] as const;
const action = 'machine.relay';

export const visaRoutes = {
  give: route('POST', '/v1/machines/{machine}/visa', {
    summary: 'a machine asks for the visa of one visit',
    callers,
    action,
    params: z.strictObject({ machine: id }),
    body: cbor(z.strictObject({ request: bytesField })),
    answer: cbor(z.strictObject({ visa: bytesField, request: bytesField, credential: bytesField, key: bytesField })),
    errors: [
      'E_NOT_FOUND',
      'E_FORBIDDEN',
      'E_SIGNATURE',
      'E_EXPIRED',
      'E_CLOCK',
      'E_STATE',
      'E_MACHINE_UNKNOWN',
      'E_CLOUD_UNKNOWN',
      'E_REVOKED',
      'E_QUARANTINE',
    ],
  }),
};

const { callHome, report } = machineCallRoutes;
const params = z.strictObject({ cloud: id, machine: id });

export const visitorCallRoutes = {
  callHome: route('POST', '/v1/visitors/{cloud}/{machine}/call-home', {
    summary: 'a machine of another cloud asks for the permit of one object',
    callers,
    action,
    params,
    body: cbor(
      z.strictObject({
        request: bytesField,
        visit: z.strictObject({ visa: bytesField, request: bytesField, key: bytesField }),
      }),
    ),
    answer: callHome.answer,
    errors: [...callHome.errors, 'E_CLOUD_UNKNOWN', 'E_VISA', 'E_PERMIT', 'E_AUTH'],
  }),
  report: route('POST', '/v1/visitors/{cloud}/{machine}/report', {
    summary: 'the signed report of a machine of another cloud',
    callers,
    action,
    params,
    body: report.body,
    answer: report.answer,
    errors: report.errors,
  }),
};
