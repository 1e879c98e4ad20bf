import { z } from 'zod';
import { uint } from '../fields.ts';
import { optional, route } from '../route.ts';

export const directoryRoutes = {
  newest: route('GET', '/v1/directory', {
    summary: 'the newest directory that the node has taken, when it is newer than the caller’s',
    callers: ['guest', 'user', 'machine', 'control', 'segments', 'keys', 'distribution'],
    action: 'directory.read',
    query: z.strictObject({
      after: z.coerce.number<number>().pipe(uint).default(0).describe('sequence number of the caller’s directory'),
    }),
    answer: optional(
      z.object({ directory: z.looseObject({}), signature: z.string() }).describe('spec/protocol.md, section 1.1'),
    ),
    errors: ['E_NOT_FOUND'],
  }),
};
