import { disclosures, groupKinds, memberPolicies, priceSchema, transferPolicies } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, byId, id, pageOf, pageQuery, party, signer, time, uint } from '../fields.ts';
import { json, route } from '../route.ts';

export const licenceAnswer = z.object({
  licence: id,
  design: id,
  objects: uint,
  credits: z.array(z.string()).describe('failed objects that the owner has credited: each makes one more possible'),
  permitted: uint,
  suspended: z
    .object({
      restore: id.describe('the restoring that the owner’s statement has to name'),
      most: uint.describe('objects that can be left at most'),
    })
    .optional()
    .describe('a backup was restored: nothing is permitted before the owner has said how many objects are left'),
  status: z
    .enum(['active', 'pending', 'suspended', 'revoked'])
    .describe('`pending` until it is approved; `suspended` until it is reinstated; `revoked` for ever'),
  approvals: z
    .object({
      needed: uint.describe('approvals that the design asks for'),
      by: z.array(id).describe('approvers who have approved'),
      waiting: uint.describe('extensions and transfers that wait for an approval'),
    })
    .describe('approvals of the licence'),
  transfer: z.enum(transferPolicies).optional().describe('whether the holder may transfer what is left'),
  price: priceSchema.optional().describe('what the holder owes, in minor units of the currency'),
  creditPolicy: z
    .object({
      below: uint.describe('executed lines below which a failed object is credited'),
      most: uint.describe('how many objects are credited so at most'),
    })
    .optional()
    .describe('which failed objects the licence credits by itself'),
  statement: base64.optional().describe('the owner’s newest signed statement on the licence'),
  statedBy: signer.optional().describe('who signed it'),
  owner: party,
  grantedBy: signer,
  holder: party,
  document: base64.describe('the licence as its owner signed it'),
  credential: base64.describe('credential of the owner: proof to the administrator’s key'),
  machines: z.array(id).describe('named machines, alone or as members of a group'),
  groups: z
    .array(
      z.object({
        group: id,
        organisation: id,
        machines: z.enum(memberPolicies).describe('`named`: only members that the licence names; `any`: every member'),
        kinds: z.array(z.string()).optional().describe('limits `any` to these kinds of machines'),
        kind: z.enum(groupKinds).optional(),
        name: z.string().optional(),
      }),
    )
    .describe('groups and sites of the licence'),
  materials: z.array(z.string()),
  notBefore: time,
  notAfter: time,
  disclose: z.array(z.enum(disclosures)).describe('what the holder may see of a running print'),
});
export type LicenceView = z.output<typeof licenceAnswer>;

const attested = z.object({ transaction: base64, credential: base64.describe('credential of the signer') });

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
  documents: route('GET', '/v1/licences/{id}/documents', {
    summary: 'the signed documents of a licence',
    callers,
    action: 'licence.read',
    params: byId,
    answer: json(
      z.object({
        grant: attested,
        amendments: z.array(attested).describe('approvals, extensions and transfers, in order'),
        core: base64.describe('core of the design'),
      }),
    ),
    errors: ['E_NOT_FOUND', 'E_FORBIDDEN'],
  }),
};
