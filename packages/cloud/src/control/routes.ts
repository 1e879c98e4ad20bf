import { controlRoutes, openApiOf } from '@millrace/api';
import { commonHandlers, type DirectorySource } from '../node/common-handlers.ts';
import { type MountOptions, mountRoutes } from '../node/mount.ts';
import { actorOf, guest } from '../node/policy.ts';
import { callerOf, certificateOf, type TlsServer } from '../node/server.ts';
import type { CheckBoard } from './checks.ts';
import type { ControlContext } from './context.ts';
import { mailHandlers, nodeHandlers } from './node-handlers.ts';
import { PairingBoard } from './pairings.ts';
import { requireEnrolmentCounting, signingActor } from './people.ts';
import type { SharedKeys } from './shared-keys.ts';
import { TokenCallers } from './tokens.ts';
import { userHandlers } from './user-handlers.ts';

export const openApi = openApiOf(controlRoutes, 'Millrace control node');

type MailContext = Pick<ControlContext, 'directory' | 'mailbox' | 'ownMail' | 'boxes'>;
type Options = Pick<MountOptions, 'answers'> & Partial<MountOptions>;

/** The API of the control node. */
export function addRoutes(
  server: TlsServer,
  context: ControlContext,
  {
    checks,
    directories,
    sharedKeys,
    ...options
  }: Options & {
    readonly checks: CheckBoard;
    readonly directories: DirectorySource | undefined;
    /** Of a control node that shares its state with others. */
    readonly sharedKeys?: SharedKeys | undefined;
  },
): void {
  const { seen, clock } = context;
  const handlers = {
    ...commonHandlers(openApi, directories),
    ...userHandlers(context, checks, new PairingBoard(clock)),
    ...mailHandlers(context),
    ...nodeHandlers(context, sharedKeys),
  };
  mountRoutes(server, controlRoutes, handlers, {
    actorOf: memberByCertificate(context),
    onCall: (actor) => {
      if ('id' in actor) seen.set(actor.id, { role: actor.role, at: clock.now() });
    },
    ...options,
  });
}

/** Only the routes of the mailbox. */
export function addMailRoutes(server: TlsServer, context: MailContext, { answers }: Options): void {
  const { boxes, mail } = controlRoutes;
  mountRoutes(server, { boxes, mail }, mailHandlers(context), { actorOf: byCertificate(context), answers });
}

/**
 * Like `byCertificate`, but adds a user's organisation and roles. A caller without a certificate has an API token or is a
 * guest. With a certificate, a token is ignored.
 */
function memberByCertificate(context: ControlContext): MountOptions['actorOf'] {
  const tokens = new TokenCallers(context);
  return async (request) => {
    const certificate = certificateOf(request);
    if (certificate === undefined) return (await tokens.actorOf(request)) ?? guest;
    const actor = actorOf(context.directory, callerOf(context.directory, certificate));
    if (actor.role !== 'user') return actor;
    await requireEnrolmentCounting(context, actor.name);
    return signingActor(context, actor.name);
  };
}

function byCertificate({ directory }: Pick<ControlContext, 'directory'>): MountOptions['actorOf'] {
  return (request) => actorOf(directory, callerOf(directory, certificateOf(request)));
}
