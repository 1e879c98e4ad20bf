import { z } from 'zod';
import { base64, id, time, uint } from '../fields.ts';
import { bytes, json, route } from '../route.ts';

/** Maximum number of segments of a design: 64 GiB. */
export const MAX_SEGMENTS = 1 << 22;
/** The header of a request with a ticket from control, in base64. */
export const TICKET_HEADER = 'millrace-ticket';

/** Segments that one request may stage. */
export const MAX_RUN = 32;
/** Length of a sealed segment, bytes (spec/vault.md, section 1). */
const SEGMENT_BYTES = 16_386;
/** The header with which a browser shows what `uploads.open` gave it, instead of a certificate. */
export const UPLOAD_HEADER = 'millrace-upload';

const segment = z.coerce
  .number<number>()
  .int()
  .min(0)
  .max(MAX_SEGMENTS - 1);
/** Compared with the ticket first. */
const design = z.string().max(100);
const bySegment = z.strictObject({ design, segment });
const ticket = z.object({ [TICKET_HEADER]: z.string().max(4_096).optional() });
const ticketErrors = ['E_FORBIDDEN', 'E_SIGNATURE', 'E_EXPIRED', 'E_CLOCK'] as const;

export const uploadRoutes = {
  put: route('PUT', '/v1/uploads/{design}/{segment}', {
    summary: 'stage one sealed segment, or several in a row beginning with this one',
    callers: ['user'],
    action: 'upload.write',
    params: bySegment,
    headers: ticket,
    body: bytes,
    maxBody: MAX_RUN * SEGMENT_BYTES,
    errors: ['E_NOT_FOUND', ...ticketErrors, 'E_QUOTA'],
  }),
  list: route('GET', '/v1/uploads/{design}', {
    summary: 'how many segments are staged, and the first thousand that are not',
    callers: ['user', 'segments'],
    action: 'upload.list',
    params: z.strictObject({ design }),
    query: z.strictObject({ segments: z.coerce.number<number>().int().min(0).max(MAX_SEGMENTS).default(0) }),
    headers: ticket,
    answer: json(z.object({ have: uint, missing: z.array(uint) })),
    errors: ['E_NOT_FOUND', ...ticketErrors],
  }),
  get: route('GET', '/v1/uploads/{design}/{segment}', {
    summary: 'one staged segment',
    callers: ['segments'],
    action: 'upload.read',
    params: bySegment,
    answer: bytes,
    errors: ['E_NOT_FOUND'],
  }),
  wipe: route('DELETE', '/v1/uploads/{design}', {
    summary: 'overwrite and remove what is staged of a design',
    callers: ['segments'],
    action: 'upload.wipe',
    params: z.strictObject({ design }),
    errors: ['E_NOT_FOUND'],
  }),
};

/** For browsers, which have no certificate. */
export const openUploadRoute = route('POST', '/v1/uploads', {
  summary: 'let a browser stage segments of one design, for a user who has signed the request',
  callers: ['guest'],
  action: 'upload.open',
  body: json(
    z.strictObject({
      request: base64.describe('`upload.open`'),
      credential: base64.describe('credential of its signer'),
    }),
  ),
  answer: json(z.object({ design: id, secret: z.string().describe('for the header millrace-upload'), until: time })),
  maxBody: 64 * 1024,
  errors: ['E_SIGNATURE', 'E_FORBIDDEN', 'E_EXPIRED', 'E_CLOCK'],
});
