import { disclosures } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, byId, id, pageOf, pageQuery, time, uint } from '../fields.ts';
import { json, route } from '../route.ts';

export const licenceAnswer = z.object({
  licence: id,
  design: id,
  objects: uint,
  permitted: uint,
  suspended: z
    .object({
      restore: id.describe('the restoring that the owner’s statement has to name'),
      most: uint.describe('objects that can be left at most'),
    })
    .optional()
    .describe('a backup was restored: nothing is permitted before the owner has said how many objects are left'),
  status: z
    .enum(['active', 'suspended', 'revoked'])
    .describe('by the owner’s statements: `suspended` until it is reinstated, `revoked` for ever'),
  statement: base64.optional().describe('the owner’s newest signed statement on the licence'),
  holder: id,
  machines: z.array(id),
  materials: z.array(z.string()),
  notBefore: time,
  notAfter: time,
  disclose: z.array(z.enum(disclosures)).describe('what the holder may see of a running print'),
});
export type LicenceView = z.output<typeof licenceAnswer>;

const callers = ['user'] as const;

export const licenceRoutes = {
  list: route('GET', '/v1/licences', {
    summary: 'licences granted or held',
    callers,
    action: 'licence.list',
    query: pageQuery,
    answer: json(pageOf(licenceAnswer)),
  }),
  get: route('GET', '/v1/licences/{id}', {
    summary: 'one licence',
    callers,
    action: 'licence.read',
    params: byId,
    answer: json(licenceAnswer),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};
