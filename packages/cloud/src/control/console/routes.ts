import { consoleRoutes, type SessionView, UPLOAD_REQUEST_HEADER } from '@millrace/api';
import { type Bytes, fromBase64, MillraceError, systemRandom, toMillraceError } from '@millrace/base';
import { requireUnrevoked } from '@millrace/protocol';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { commonHandlers, type DirectorySource } from '../../node/common-handlers.ts';
import { FailureLimit } from '../../node/failure-limit.ts';
import type { IdempotentAnswers } from '../../node/idempotency.ts';
import { type Call, mountRoutes } from '../../node/mount.ts';
import { type Actor, guest, type UserActor } from '../../node/policy.ts';
import type { CheckBoard } from '../checks.ts';
import type { ControlContext } from '../context.ts';
import { mailHandlers } from '../node-handlers.ts';
import { PairingBoard } from '../pairings.ts';
import { requireEnrolmentCounting, requireInForce, signingActor, verifyRepeatable, verifyRequest } from '../people.ts';
import { openApi } from '../routes.ts';
import { logSignIn } from '../sign-in-log.ts';
import { userHandlers } from '../user-handlers.ts';
import { sessionCookie } from './cookie.ts';
import { IDLE_MS, Sessions } from './sessions.ts';

export interface ConsoleRoutesOptions {
  readonly checks: CheckBoard;
  readonly answers: IdempotentAnswers;
  readonly directories: DirectorySource | undefined;
  /** Origin of distribution's listener for browsers. */
  readonly uploads?: string | undefined;
  /** Address that people open; known when the server listens. */
  readonly origin: () => string;
}

/** The part of control's API that browsers use. A session identifies the caller; without one, it is a guest. */
export function addConsoleRoutes(
  server: FastifyInstance,
  context: ControlContext,
  { checks, answers, directories, uploads, origin }: ConsoleRoutesOptions,
): void {
  const { clock, directory, records } = context;
  const cookie = () => sessionCookie(origin());
  const sessions = new Sessions(clock, systemRandom);
  const failures = new FailureLimit(clock, 'too many failed sign-ins came from this address');

  const viewOf = async (actor: UserActor, until: number): Promise<SessionView> => {
    const { name: key, admin, member } = actor;
    const user = await records.users.get(key);
    const organisation = member && (await records.organisations.get(member.organisation));
    return {
      ...{ key, name: user?.name ?? 'administrator', admin, until, idleMs: IDLE_MS },
      ...(member && { organisation: member.organisation, roles: [...member.roles] }),
      ...(organisation && { organisationName: organisation.name }),
      ...(uploads !== undefined && { uploads }),
    };
  };
  const actorOf = async (request: FastifyRequest, how: 'use' | 'find' = 'use'): Promise<Actor> => {
    const secret = cookie().read(request);
    const session = secret === undefined ? undefined : sessions[how](secret);
    if (secret === undefined || session === undefined) return guest;
    try {
      requireUnrevoked(directory, session.key);
      await requireEnrolmentCounting(context, session.key);
      await requireInForce(context, session.key);
    } catch (error) {
      // Otherwise the browser, which cannot remove the cookie, could not sign in with another key either.
      if (['E_REVOKED', 'E_EXPIRED'].includes(toMillraceError(error).code)) sessions.close(secret);
      throw error;
    }
    return signingActor(context, session.key);
  };
  const open = async ({ body, address, request, answerHeader, allow }: Call<typeof consoleRoutes.sessions.open>) => {
    allow();
    failures.require(address);
    const bytes = base64(body.request);
    const opened = await signedIn(context, bytes, origin()).catch(async (error: unknown) => {
      failures.failed(address);
      // The signature was verified before the key was looked up in the revocations.
      if (toMillraceError(error).code === 'E_REVOKED') await logSignIn(context, { bytes, address, refused: true });
      throw error;
    });
    // The browser's former session ends: a sign-in always gets a new secret.
    const former = cookie().read(request);
    if (former !== undefined) sessions.close(former);
    const { secret, until } = sessions.open(opened);
    await logSignIn(context, { bytes, address, refused: false });
    answerHeader('set-cookie', cookie().set(secret));
    return viewOf(await signingActor(context, opened), until);
  };

  const ofUsers = userHandlers(context, checks, new PairingBoard(clock));
  mountRoutes<typeof consoleRoutes>(
    server,
    consoleRoutes,
    {
      ...ofUsers,
      designs: {
        ...ofUsers.designs,
        uploaded: async (call) => {
          const { params, headers, actor } = call;
          if (actor.role === 'user')
            await requireUploader(context, headers[UPLOAD_REQUEST_HEADER], params.id, actor.name);
          return ofUsers.designs.uploaded(call);
        },
      },
      ...commonHandlers(openApi, directories),
      boxes: mailHandlers(context).boxes,
      sessions: {
        open,
        current: async ({ actor, request, allow }) => {
          allow();
          const session = sessions.use(cookie().read(request) ?? '');
          if (session === undefined || actor.role !== 'user') return undefined;
          return viewOf(actor, session.until);
        },
        close: async ({ request, answerHeader, allow }) => {
          allow();
          sessions.close(cookie().read(request) ?? '');
          answerHeader('set-cookie', cookie().clear());
        },
      },
    },
    { actorOf, renewedActor: (request) => actorOf(request, 'find'), answers },
  );
}

/**
 * The key that has signed a request for a session at this console. A request for another origin is refused: a page that
 * imitates the console cannot use what people sign for it.
 */
async function signedIn(context: ControlContext, bytes: Bytes, origin: string): Promise<string> {
  const { body, key } = await verifyRequest(context, bytes, 'session.open');
  if (body.origin !== origin) throw new MillraceError('E_AUTH', 'the session was asked for at another address');
  await requireEnrolmentCounting(context, key);
  return key;
}

/**
 * Requires that the key of the session has signed the upload of this design.
 * @throws {MillraceError} E_FORBIDDEN
 */
async function requireUploader(context: ControlContext, request: string | undefined, design: string, user: string) {
  if (request === undefined) throw new MillraceError('E_FORBIDDEN', 'the user has not signed this upload');
  const { body, key } = await verifyRepeatable(context, base64(request), 'upload.open');
  if (body.design !== design || key !== user)
    throw new MillraceError('E_FORBIDDEN', 'the signed upload is another user’s, or of another design');
}

function base64(text: string): Bytes {
  try {
    return fromBase64(text);
  } catch (cause) {
    throw new MillraceError('E_INPUT', 'body: not base64', { cause });
  }
}
