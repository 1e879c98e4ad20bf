import { timingSafeEqual } from 'node:crypto';
import type { PageQuery, TokenView } from '@millrace/api';
import { equalBytes, fromHex, MillraceError, toBase64, toHex, toMillraceError } from '@millrace/base';
import {
  CLOCK_SKEW_MS,
  onlyKey,
  requireUnrevoked,
  TOKEN_MAX_MS,
  type TransactionOf,
  tokenHash,
  tokenIdOf,
  tokenPrefix,
  verifyTransaction,
} from '@millrace/protocol';
import type { FastifyRequest } from 'fastify';
import { FailureLimit } from '../node/failure-limit.ts';
import { authorize, type UserActor } from '../node/policy.ts';
import type { ControlContext } from './context.ts';
import { requireEnrolmentCounting, requireInForce, signingActor } from './people.ts';
import { provedKey } from './proved-users.ts';
import type { TokenRecord } from './records.ts';
import { replay } from './replay.ts';
import type { Submitted } from './submitted.ts';
import { page } from './views.ts';

// API tokens. Control stores the hash that the person signed. A token acts as its person, within its scopes.

/** Tokens of one key that have not expired. */
const MAX_TOKENS = 100;
/** Precision of the time of last use, ms: a busy token does not cause a write for each request. */
const USED_MS = 60_000;
/** How long expired tokens are listed, ms. */
const LISTED_MS = 30 * 86_400_000;

export async function createToken(
  context: ControlContext,
  { body, actor, bytes }: Submitted<TransactionOf<'token.create'>>,
  token: string,
) {
  const { records, clock } = context;
  const key = actor.name;
  authorize(actor, 'token.create');
  const { name, scopes, hash, until } = body;
  if (until <= clock.now()) throw new MillraceError('E_INPUT', 'the token expires before it is created');
  if (until > clock.now() + TOKEN_MAX_MS + CLOCK_SKEW_MS)
    throw new MillraceError('E_INPUT', 'a token is valid for a year at most');
  let count = 0;
  for await (const [, known] of records.tokens.list({ index: 'key', group: key }))
    if (known.until > clock.now() && known.revoked === undefined) count++;
  if (count >= MAX_TOKENS) throw new MillraceError('E_QUOTA', `a key has at most ${MAX_TOKENS} tokens`);
  const { organisation } = actor.member ?? {};
  const record: TokenRecord = {
    ...{ token, name, scopes: [...scopes], hash, until, key, created: clock.now(), document: bytes },
    ...(organisation === undefined ? {} : { organisation }),
  };
  if (!(await records.tokens.create(token, record))) throw replay(token);
  return { token };
}

export async function revokeToken(
  context: ControlContext,
  { body, actor }: Submitted<TransactionOf<'token.revoke'>>,
): Promise<{ token: string }> {
  const { records, clock } = context;
  const by = actor.name;
  const { key, organisation } = await records.tokens.require(body.token);
  authorize(actor, 'token.revoke', { signer: key, organisation });
  const revoked = { at: clock.now(), by };
  await records.tokens.update(body.token, (token) => (token.revoked === undefined ? { ...token, revoked } : token));
  return { token: body.token };
}

/** Removes tokens that expired some time ago. */
export async function forgetTokens({ records, clock }: Pick<ControlContext, 'records' | 'clock'>): Promise<void> {
  const below = Math.max(0, clock.now() - LISTED_MS);
  for await (const [id] of records.tokens.list({ index: 'until', group: 'all', below }))
    await records.tokens.remove(id);
}

/** Identifies callers by API tokens. */
export class TokenCallers {
  readonly #context: ControlContext;
  readonly #failures: FailureLimit;
  /** Records that were compared with their documents. A changed record is another object. */
  readonly #signed = new WeakSet<TokenRecord>();

  constructor(context: ControlContext) {
    this.#context = context;
    this.#failures = new FailureLimit(context.clock, 'too many requests with wrong API tokens came from this address');
  }

  /**
   * The actor of a request with a token; undefined for a request without one.
   * @throws {MillraceError} E_TOKEN, E_RATE; E_REVOKED if the person's key was revoked; E_AUTH if its record is forged
   */
  async actorOf(request: FastifyRequest): Promise<UserActor | undefined> {
    const address = request.socket.remoteAddress ?? '';
    const { authorization, 'x-api-key': key } = request.headers;
    if (authorization === undefined && key === undefined) return undefined;
    this.#failures.require(address);
    try {
      return await this.#verify(presentedToken(request.headers));
    } catch (error) {
      if (error instanceof MillraceError && error.code === 'E_TOKEN') this.#failures.failed(address);
      throw error;
    }
  }

  async #verify(text: string): Promise<UserActor> {
    const { records, clock, directory } = this.#context;
    const hash = tokenHash(text);
    const id = tokenIdOf(text);
    const record = await records.tokens.get(id);
    // One answer for unknown tokens and wrong secrets, so that it does not say which tokens exist.
    if (!timingSafeEqual(hash, record?.hash ?? new Uint8Array(hash.length)) || record === undefined)
      throw new MillraceError('E_TOKEN', 'there is no such API token');
    if (record.revoked !== undefined) throw new MillraceError('E_TOKEN', `the API token ${record.name} was revoked`);
    if (clock.now() > record.until) throw new MillraceError('E_TOKEN', `the API token ${record.name} has expired`);
    requireUnrevoked(directory, record.key);
    await requireEnrolmentCounting(this.#context, record.key);
    await this.#requireSigned(record);
    await requireInForce(this.#context, record.key).catch((cause: unknown) => {
      throw new MillraceError('E_TOKEN', `the key that created the API token ${record.name} has expired`, { cause });
    });
    this.#used(record);
    return { ...(await signingActor(this.#context, record.key)), token: { id, scopes: record.scopes } };
  }

  /**
   * The token must be what its person has signed: others may be able to write records.
   * @throws {MillraceError} E_TOKEN
   */
  async #requireSigned(record: TokenRecord): Promise<void> {
    if (this.#signed.has(record)) return;
    const { directory } = this.#context;
    const { token, key, hash, until, scopes, document } = record;
    const refuse = (cause?: unknown) =>
      new MillraceError('E_TOKEN', 'the API token is not what its person has signed', { cause });
    const publicKey = await provedKey(this.#context, key);
    if (publicKey === undefined) throw refuse();
    const { body } = await verifyTransaction(document, directory.installation, onlyKey(publicKey), 'any time').catch(
      (error: unknown) => {
        throw refuse(error);
      },
    );
    const isOwn = body.type === 'token.create' && toHex(body.id) === token && equalBytes(body.hash, hash);
    if (!isOwn || body.until !== until || body.scopes.join() !== scopes.join()) throw refuse();
    this.#signed.add(record);
  }

  #used({ token, lastUsed = 0 }: TokenRecord): void {
    const { records, clock, logger } = this.#context;
    const now = clock.now();
    if (now - lastUsed < USED_MS) return;
    records.tokens
      .update(token, (current) => ({ ...current, lastUsed: now }))
      .catch((error: unknown) => logger.warn({ err: toMillraceError(error), token }, 'last use of a token not stored'));
  }
}

/** @throws {MillraceError} E_TOKEN */
function presentedToken(headers: FastifyRequest['headers']): string {
  const { authorization, 'x-api-key': key } = headers;
  if (authorization !== undefined && key !== undefined)
    throw new MillraceError('E_TOKEN', 'Authorization and X-Api-Key exclude each other');
  if (typeof key === 'string') return key;
  const bearer = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
  if (bearer === undefined) throw new MillraceError('E_TOKEN', 'expected Authorization: Bearer mr_…');
  return bearer;
}

/** Tokens of a key, the newest first. */
export function tokensPage(context: ControlContext, key: string, query: PageQuery) {
  const at = { index: 'key', group: key, reverse: true };
  return page(context, context.records.tokens, at, query, (record) => tokenView(context, record));
}

/** Tokens of an organisation's people, the newest first. */
export function organisationTokensPage(context: ControlContext, organisation: string, query: PageQuery) {
  const at = { index: 'organisation', group: organisation, reverse: true };
  return page(context, context.records.tokens, at, query, (record) => tokenView(context, record));
}

/** The token of the request. @throws {MillraceError} E_NOT_FOUND if a certificate identifies the caller */
export async function currentToken(context: ControlContext, { token, name }: UserActor) {
  if (token === undefined) throw new MillraceError('E_NOT_FOUND', 'the caller has a certificate, not an API token');
  const { records, directory } = context;
  const publicKey = (await records.users.get(name))?.publicKey ?? fromHex(directory.adminKey);
  const view = await tokenView(context, await records.tokens.require(token.id));
  return { ...view, publicKey: toBase64(publicKey) };
}

async function tokenView(context: ControlContext, record: TokenRecord): Promise<TokenView> {
  const { hash: _, document, ...shown } = record;
  const name = (await context.records.users.get(record.key))?.name;
  const [stolen] = context.directory.revocations?.of(record.key) ?? [];
  return {
    ...shown,
    prefix: tokenPrefix(record.token),
    by: name ?? 'administrator',
    // With the key of the person, its tokens are revoked.
    ...(stolen !== undefined && record.revoked === undefined && { revoked: { at: stolen.at, by: record.key } }),
    document: toBase64(document),
  };
}
