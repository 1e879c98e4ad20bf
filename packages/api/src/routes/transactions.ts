import { z } from 'zod';
import { base64 } from '../fields.ts';
import { json, route } from '../route.ts';

export const transactionBody = z.strictObject({
  transaction: base64.describe('COSE_Sign1, see spec/protocol.md'),
  attachments: z
    .strictObject({
      manifest: base64.optional(),
      keys: base64.optional(),
      secret: base64.optional(),
      evidence: base64.optional(),
    })
    .optional(),
});

export const transactionAnswer = z.object({
  id: z.string(),
  type: z.string(),
  design: z.string().optional(),
  licence: z.string().optional(),
  print: z.string().optional(),
  visit: z.string().optional(),
  rehearsal: z.string().optional(),
  machine: z.string().optional(),
  user: z.string().optional(),
  object: z.string().optional(),
  organisation: z.string().optional(),
  invitation: z.string().optional(),
  spool: z.string().optional(),
  webhook: z.string().optional(),
});

export const transactionRoutes = {
  submit: route('POST', '/v1/transactions', {
    summary: 'carry out a signed transaction',
    callers: ['user'],
    action: 'transaction.submit',
    body: json(transactionBody),
    answer: json(transactionAnswer),
    errors: [
      'E_NOT_FOUND',
      'E_FORBIDDEN',
      'E_SIGNATURE',
      'E_EXPIRED',
      'E_CLOCK',
      'E_REPLAY',
      'E_CONFLICT',
      'E_STATE',
      'E_ALARM',
      'E_MACHINE_UNKNOWN',
      'E_CLOUD_UNKNOWN',
      'E_MATERIAL',
      'E_LICENCE_INVALID',
      'E_LICENCE_EXHAUSTED',
      'E_LICENCE_QUOTA',
      'E_LICENCE_PENDING',
      'E_LICENCE_SUSPENDED',
      'E_LICENCE_REVOKED',
      'E_DESIGN_DELETED',
      'E_MODE_FIXED',
      'E_TOO_LARGE',
      'E_BOX_KEY',
      'E_QUOTA',
      'E_QUARANTINE',
    ],
  }),
};
