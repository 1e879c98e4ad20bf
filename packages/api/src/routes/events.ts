import { changeKinds } from '@millrace/protocol/shapes';
import { z } from 'zod';
import { events, route } from '../route.ts';

/** One thing has changed: who wants to know how reads it. */
export const changeEvent = z.object({ kind: z.enum(changeKinds), id: z.string() });
export type ChangeEvent = z.output<typeof changeEvent>;

/** Header by which a caller names the last event that it got. Browsers send it when they connect again. */
export const LAST_EVENT_HEADER = 'last-event-id';

/**
 * Server-sent events. `changed` has a `ChangeEvent` as its data; `reset`: changes may have been missed, so read
 * everything again; `beat`, every few seconds: nothing else has changed.
 */
export const eventRoutes = {
  stream: route('GET', '/v1/events', {
    summary: 'what changes, of the things that the caller may read, as server-sent events',
    callers: ['user'],
    action: 'event.read',
    query: z.strictObject({
      seconds: z.coerce
        .number<number>()
        .int()
        .min(0)
        .max(86_400)
        .optional()
        .describe('the stream ends after this time; default: when the session or the certificate ends'),
    }),
    headers: z.object({
      [LAST_EVENT_HEADER]: z
        .string()
        .max(100)
        .optional()
        .describe('the last event that the caller got: later ones are told again'),
    }),
    answer: events,
    waits: true,
    errors: ['E_QUOTA'],
  }),
};
