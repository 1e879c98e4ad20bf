import { groupKinds } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, byId, id, pageOf, pageQuery, signer, uint } from '../fields.ts';
import { json, route } from '../route.ts';

const groupAnswer = z.object({
  group: id,
  organisation: id.describe('that holds the machines'),
  organisationName: z.string(),
  kind: z.enum(groupKinds).describe('a machine is at one site at most, and in any number of groups'),
  name: z.string(),
  address: z.string().optional().describe('of a site'),
  number: uint.describe('of the newest statement on it'),
  machines: z.array(id),
  statedBy: signer,
  document: base64.describe('the newest `group.set`, as it was signed'),
  credential: base64.describe('credential of the signer: proof to the administrator’s key'),
});
export type GroupView = z.output<typeof groupAnswer>;

export const groupRoutes = {
  list: route('GET', '/v1/groups', {
    summary: 'groups of machines and sites, of all organisations',
    callers: ['user'],
    action: 'group.list',
    query: pageQuery,
    answer: json(pageOf(groupAnswer)),
  }),
  get: route('GET', '/v1/groups/{id}', {
    summary: 'one group or site',
    callers: ['user'],
    action: 'group.list',
    params: byId,
    answer: json(groupAnswer),
    errors: ['E_NOT_FOUND'],
  }),
};
