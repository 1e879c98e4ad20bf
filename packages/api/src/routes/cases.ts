import { caseReasons, objectName } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, id, pageOf, pageQuery, time } from '../fields.ts';
import { bytes, json, route } from '../route.ts';

// Failure cases: what became of an object, by its holder's report and its owner's decision.

export const caseAnswer = z.object({
  object: z.string(),
  print: id,
  licence: id,
  design: id,
  reason: z.enum(caseReasons),
  created: time,
  state: z.enum(['open', 'credited', 'denied']),
  evidence: z.boolean().describe('whether the holder has sealed a text or a photo to the owner'),
  reported: id.describe('key that signed the report'),
  report: base64.describe('the report as its holder signed it, see spec/protocol.md'),
  credential: base64.describe('credential of the key that signed the report'),
  byPolicy: z
    .literal(true)
    .optional()
    .describe('credited by the licence’s policy: `report` is the machine’s, `credential` its registration'),
  decided: id.optional().describe('key that signed the decision'),
  note: z.string().optional(),
});
export type CaseView = z.output<typeof caseAnswer>;

const callers = ['user'] as const;
const params = z.strictObject({ id: objectName });
const notYours = ['E_NOT_FOUND', 'E_FORBIDDEN'] as const;

export const caseRoutes = {
  list: route('GET', '/v1/cases', {
    summary: 'failure cases of own designs and licences, the newest first',
    callers,
    action: 'case.list',
    query: pageQuery,
    answer: json(pageOf(caseAnswer)),
  }),
  get: route('GET', '/v1/cases/{id}', {
    summary: 'the case of one object',
    callers,
    action: 'case.read',
    params,
    answer: json(caseAnswer),
    errors: notYours,
  }),
  evidence: route('GET', '/v1/cases/{id}/evidence', {
    summary: 'text and photo of a case, sealed to the owner',
    callers,
    action: 'case.read',
    params,
    answer: bytes,
    errors: notYours,
  }),
};
