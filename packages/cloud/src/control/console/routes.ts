import { consoleRoutes, type SessionView, UPLOAD_REQUEST_HEADER } from '@millrace/api';
import { type Bytes, fromBase64, MillraceError, systemRandom, toMillraceError } from '@millrace/base';
import { requireUnrevoked } from '@millrace/protocol';
import type { ProviderRules } from '@millrace/protocol/provider';
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
import { logCompanySignIn, logSignIn } from '../sign-in-log.ts';
import { userHandlers } from '../user-handlers.ts';
import { CompanySignIns, requireCompanyCounting } from './company-sign-ins.ts';
import { sessionCookie, signInCookie } from './cookie.ts';
import { IDLE_MS, type SessionHolder, type Sessions } from './sessions.ts';

export interface ConsoleRoutesOptions {
  readonly checks: CheckBoard;
  readonly answers: IdempotentAnswers;
  readonly directories: DirectorySource | undefined;
  readonly sessions: Sessions;
  /** Origin of distribution's listener for browsers. */
  readonly uploads?: string | undefined;
  /** Address that people open; known when the server listens. */
  readonly origin: () => string;
  /** Where providers of company sign-in may be. */
  readonly providers: ProviderRules;
}

/** The part of control's API that browsers use. A session identifies the caller; without one, it is a guest. */
export function addConsoleRoutes(
  server: FastifyInstance,
  context: ControlContext,
  { checks, answers, directories, sessions, uploads, origin, providers }: ConsoleRoutesOptions,
): void {
  const { clock, records } = context;
  const cookie = () => sessionCookie(origin());
  const failures = new FailureLimit(clock, 'too many failed sign-ins came from this address');

  const companySignIns = new CompanySignIns(context, {
    ...{ rules: providers, random: systemRandom },
    redirect: () => `${origin()}/`,
  });

  const viewOf = async (holder: SessionHolder, until: number): Promise<SessionView> => {
    const { name: key, admin, member } = await holderActor(context, holder);
    const name = holder.kind === 'company' ? holder.email : (await records.users.get(key))?.name;
    const organisation = member && (await records.organisations.get(member.organisation));
    return {
      ...{ key, name: name ?? 'administrator', admin, until, idleMs: IDLE_MS, company: holder.kind === 'company' },
      ...(member && { organisation: member.organisation, roles: [...member.roles] }),
      ...(organisation && { organisationName: organisation.name }),
      ...(uploads !== undefined && { uploads }),
    };
  };
  const actorOf = async (request: FastifyRequest, how: 'use' | 'find' = 'use'): Promise<Actor> => {
    const secret = cookie().read(request);
    const session = secret === undefined ? undefined : await sessions[how](secret);
    if (secret === undefined || session === undefined) return guest;
    try {
      await requireHolderCounting(context, session.holder);
    } catch (error) {
      // Otherwise the browser, which cannot remove the cookie, could not sign in with another key either.
      if (['E_REVOKED', 'E_EXPIRED'].includes(toMillraceError(error).code)) await sessions.close(secret);
      throw error;
    }
    return holderActor(context, session.holder);
  };
  /** The browser's former session ends: a sign-in always gets a new secret. */
  const opened = async ({ request, answerHeader }: SessionCall, holder: SessionHolder) => {
    const former = cookie().read(request);
    if (former !== undefined) await sessions.close(former);
    const { secret, until } = await sessions.open(holder);
    answerHeader('set-cookie', cookie().set(secret));
    return viewOf(holder, until);
  };
  const open = async (call: Call<typeof consoleRoutes.sessions.open>) => {
    const { body, address, allow } = call;
    allow();
    failures.require(address);
    const bytes = base64(body.request);
    const name = await signedIn(context, bytes, origin()).catch(async (error: unknown) => {
      failures.failed(address);
      // The signature was verified before the key was looked up in the revocations.
      if (toMillraceError(error).code === 'E_REVOKED') await logSignIn(context, { bytes, address, refused: true });
      throw error;
    });
    const view = await opened(call, { kind: 'key', name });
    await logSignIn(context, { bytes, address, refused: false });
    return view;
  };
  const begin = async (call: Call<typeof consoleRoutes.companySignIns.begin>) => {
    const { body, address: from, answerHeader, allow } = call;
    allow();
    failures.require(from);
    const { organisation, nonce } = body;
    const { secret, ...begun } = await companySignIns.begin(organisation, nonce, from).catch((error: unknown) => {
      failures.failed(from);
      throw error;
    });
    answerHeader('set-cookie', signInCookie(origin()).set(secret));
    return begun;
  };
  const answer = async (call: Call<typeof consoleRoutes.companySignIns.answer>) => {
    const { body, address, request, answerHeader, allow } = call;
    allow();
    failures.require(address);
    const secret = signInCookie(origin()).read(request) ?? '';
    const ended = await companySignIns.end(secret, body.answer).catch((error: unknown) => {
      failures.failed(address);
      throw error;
    });
    if ('enrolment' in ended) {
      answerHeader('set-cookie', signInCookie(origin()).clear());
      return ended;
    }
    const { name: person, email: name, organisation } = ended.holder;
    const session = await opened(call, ended.holder);
    await logCompanySignIn(context, { person, name, organisation, address });
    return { session };
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
          const session = await sessions.use(cookie().read(request) ?? '');
          if (session === undefined || actor.role !== 'user') return undefined;
          return viewOf(session.holder, session.until);
        },
        close: async ({ request, answerHeader, allow }) => {
          allow();
          await sessions.close(cookie().read(request) ?? '');
          answerHeader('set-cookie', cookie().clear());
        },
      },
      companySignIns: { begin, answer },
    },
    { actorOf, renewedActor: (request) => actorOf(request, 'find'), answers },
  );
}

type SessionCall = Pick<Call<typeof consoleRoutes.sessions.open>, 'request' | 'answerHeader'>;

/** @throws {MillraceError} E_REVOKED, E_EXPIRED */
async function requireHolderCounting(context: ControlContext, holder: SessionHolder): Promise<void> {
  if (holder.kind === 'company') return requireCompanyCounting(context, holder);
  requireUnrevoked(context.directory, holder.name);
  await requireEnrolmentCounting(context, holder.name);
  await requireInForce(context, holder.name);
}

async function holderActor(context: ControlContext, holder: SessionHolder): Promise<UserActor> {
  if (holder.kind === 'key') return signingActor(context, holder.name);
  const { name, organisation, roles } = holder;
  return { role: 'user', name, admin: false, member: { organisation, roles }, keyless: true };
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
