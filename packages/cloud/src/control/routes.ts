import { controlRoutes, openApiOf } from '@millrace/api';
import { type MountOptions, mountRoutes } from '../node/mount.ts';
import { actorOf } from '../node/policy.ts';
import { callerOf, certificateOf, type TlsServer } from '../node/server.ts';
import type { CheckBoard } from './checks.ts';
import type { ControlContext } from './context.ts';
import { mailHandlers, nodeHandlers } from './node-handlers.ts';
import { userHandlers } from './user-handlers.ts';

export const openApi = openApiOf(controlRoutes, 'Millrace control node');

type MailContext = Pick<ControlContext, 'directory' | 'mailbox' | 'boxes'>;
type Options = Pick<MountOptions, 'answers'> & Partial<MountOptions>;

/** The API of the control node. */
export function addRoutes(
  server: TlsServer,
  context: ControlContext,
  { checks, ...options }: Options & { readonly checks: CheckBoard },
): void {
  const { seen, clock } = context;
  const openapi = {
    get: ({ allow }: { readonly allow: () => void }) => {
      allow();
      return openApi;
    },
  };
  const handlers = { openapi, ...userHandlers(context, checks), ...mailHandlers(context), ...nodeHandlers(context) };
  mountRoutes(server, controlRoutes, handlers, {
    actorOf: byCertificate(context),
    onCall: ({ role }) => {
      if (role !== 'user' && role !== 'machine') seen.set(role, clock.now());
    },
    ...options,
  });
}

/** Only the routes of the mailbox. */
export function addMailRoutes(server: TlsServer, context: MailContext, { answers }: Options): void {
  const { boxes, mail } = controlRoutes;
  mountRoutes(server, { boxes, mail }, mailHandlers(context), { actorOf: byCertificate(context), answers });
}

function byCertificate({ directory }: Pick<ControlContext, 'directory'>): MountOptions['actorOf'] {
  return (request) => actorOf(directory, callerOf(directory, certificateOf(request)));
}
