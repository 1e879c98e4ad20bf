import { type distributionRoutes, TICKET_HEADER } from '@millrace/api';
import { MillraceError } from '@millrace/base';
import { SEGMENT_BYTES } from '@millrace/vault';
import type { Handlers } from '../node/mount.ts';
import type { Actor } from '../node/policy.ts';
import type { Tickets } from './tickets.ts';
import type { Uploads } from './uploads.ts';

/** Maximum number of segment numbers in one answer. */
const MAX_LISTED = 1_000;

const nameOf = (actor: Actor): string => ('name' in actor ? actor.name : actor.role);

/**
 * Routes for uploads: owners stage sealed segments with a ticket from control; the segments node fetches and wipes
 * them.
 */
export function uploadHandlers(
  uploads: Uploads,
  tickets: Tickets,
): Handlers<Pick<typeof distributionRoutes, 'uploads'>> {
  return {
    uploads: {
      put: async ({ params: { design, segment }, headers, body, actor, allow }) => {
        const ticket = allow(await tickets.require(headers[TICKET_HEADER], nameOf(actor), design));
        const run = body.length / SEGMENT_BYTES;
        if (run === 0 || !Number.isInteger(run))
          throw new MillraceError('E_INPUT', `expected segments of ${SEGMENT_BYTES} bytes, not ${body.length} bytes`);
        if (segment + run > ticket.segments)
          throw new MillraceError('E_INPUT', `the design has ${ticket.segments} segments`);
        for (let n = 0; n < run; n++) {
          const sealed = body.subarray(n * SEGMENT_BYTES, (n + 1) * SEGMENT_BYTES);
          await uploads.put(design, String(segment + n), sealed, ticket.owner);
        }
      },
      list: async ({ params: { design }, query: { segments }, headers, actor, allow }) => {
        if (actor.role === 'user') allow(await tickets.require(headers[TICKET_HEADER], actor.name, design));
        else allow();
        const have = await uploads.have(design);
        const missing: number[] = [];
        for (let number = 0; number < segments && missing.length < MAX_LISTED; number++)
          if (!have.has(number)) missing.push(number);
        return { have: have.size, missing };
      },
      get: async ({ params: { design, segment }, allow }) => {
        allow();
        return uploads.get(design, String(segment));
      },
      wipe: async ({ params: { design }, allow }) => {
        allow();
        await uploads.wipe(design);
      },
    },
  };
}
