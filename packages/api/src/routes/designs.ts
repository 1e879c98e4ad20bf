import { MAX_REPAIR } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { base64, byId, failure, id, pageOf, pageQuery, party, signer, uint } from '../fields.ts';
import { bytes, json, route } from '../route.ts';

export const designAnswer = z.object({
  design: id,
  name: z.string(),
  owner: party,
  addedBy: signer,
  core: base64.describe('what the owner committed to, see spec/vault.md; the id follows from it'),
  custody: z.enum(['owner', 'keys']).describe('who holds the design secret'),
  kind: z.string(),
  size: uint,
  segments: uint,
  state: z.enum(['uploading', 'storing', 'stored', 'refused', 'deleting', 'deleted']),
  ...failure,
  maintenance: z.string().describe('how its cells are renewed'),
  wanted: z.string().optional().describe('how the owner wants them renewed, until the keys node has taken it'),
  damage: z
    .object({
      missing: z.array(uint),
      damaged: z.array(uint),
      keys: z.boolean().describe('the keys node’s own records are damaged'),
      found: uint.describe('when, milliseconds since 1970'),
    })
    .optional()
    .describe('segments that checks found missing or damaged, until they are repaired'),
  repair: z
    .object({ repair: id, state: z.enum(['running', 'done', 'failed']), segments: uint, ...failure })
    .optional()
    .describe('the newest repair'),
});
export type DesignView = z.output<typeof designAnswer>;

/** The header with the `upload.open` that the user signed, in base64. */
export const UPLOAD_REQUEST_HEADER = 'millrace-upload-request';

const callers = ['user'] as const;
const params = byId;
const notYours = ['E_NOT_FOUND', 'E_FORBIDDEN'] as const;

export const designRoutes = {
  list: route('GET', '/v1/designs', {
    summary: 'own designs',
    callers,
    action: 'design.list',
    query: pageQuery,
    answer: json(pageOf(designAnswer)),
  }),
  get: route('GET', '/v1/designs/{id}', {
    summary: 'one design',
    callers,
    action: 'design.read',
    params,
    answer: json(designAnswer),
    errors: notYours,
  }),
  private: route('GET', '/v1/designs/{id}/private', {
    summary: 'what the owner sealed to itself',
    callers,
    action: 'design.open',
    params,
    answer: bytes,
    errors: notYours,
  }),
  share: route('GET', '/v1/designs/{id}/share', {
    summary: 'the key of the private part, as a colleague sealed it to the caller’s key',
    callers,
    action: 'design.open',
    params,
    answer: json(
      z.object({
        transaction: base64.describe('`design.share`'),
        credential: base64.describe('credential of its signer'),
      }),
    ),
    errors: notYours,
  }),
  ticket: route('GET', '/v1/designs/{id}/ticket', {
    summary: 'what lets the owner upload segments',
    callers,
    action: 'design.upload',
    params,
    answer: json(
      z.object({ ticket: base64.describe('for the header millrace-ticket of uploads to the distribution node') }),
    ),
    errors: [...notYours, 'E_DESIGN_DELETED', 'E_STATE'],
  }),
  uploaded: route('POST', '/v1/designs/{id}/uploaded', {
    summary: 'every segment is uploaded',
    callers,
    action: 'design.upload',
    params,
    answer: json(designAnswer),
    errors: notYours,
  }),
  repair: route('POST', '/v1/designs/{id}/repair', {
    summary: 'store sealed segments again that are uploaded once more',
    callers,
    action: 'design.repair',
    params,
    body: json(z.strictObject({ segments: z.array(uint).min(1).max(MAX_REPAIR) })),
    answer: json(z.object({ repair: id })),
    errors: [...notYours, 'E_DESIGN_DELETED', 'E_STATE'],
  }),
};

/** Instead of `uploaded`: a browser's session alone changes nothing. */
export const uploadedByBrowser = route('POST', '/v1/designs/{id}/uploaded', {
  summary: 'every segment is uploaded',
  callers,
  action: 'design.upload',
  params,
  headers: z.object({ [UPLOAD_REQUEST_HEADER]: base64.max(4_096).optional() }),
  answer: json(designAnswer),
  errors: [...notYours, 'E_SIGNATURE', 'E_EXPIRED', 'E_CLOCK'],
});
