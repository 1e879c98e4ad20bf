import { equalBytes, MillraceError, parse } from '@millrace/base';
import {
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type Configuration,
  calculatePKCECodeChallenge,
  customFetch,
  discovery,
  None,
  randomPKCECodeVerifier,
  randomState,
} from 'openid-client';
import { z } from 'zod';
import { type ProviderRules, providerFetch, requireProviderUrl } from './provider-fetch.ts';
import { type ProviderKey, providerKey } from './shapes.ts';
import { providerKeyThumbprint, type SignInDocument } from './sign-in-credential.ts';

export type { ProviderRules } from './provider-fetch.ts';

// OpenID Connect: discovery, the provider's keys, and a sign-in by authorization code with PKCE. The person's own
// computer runs it as a native application (RFC 8252), and control for browsers at the console.

export interface Provider {
  readonly configuration: Configuration;
  /** Keys with which the provider may sign ID tokens. */
  readonly keys: readonly ProviderKey[];
}

/** Maximum number of keys that an organisation pins. */
const MAX_KEYS = 16;

const keySetSchema = z.looseObject({ keys: z.array(z.looseObject({ use: z.string().optional() })).max(100) });

/**
 * Reads the provider's metadata and keys.
 * @throws {MillraceError} E_PROVIDER, E_UNAVAILABLE, E_TIMEOUT
 */
export async function discoverProvider(issuer: string, clientId: string, rules: ProviderRules): Promise<Provider> {
  const url = requireProviderUrl(issuer, rules);
  const configuration = await answered('its metadata', () =>
    discovery(url, clientId, undefined, None(), {
      execute: url.protocol === 'http:' ? [allowInsecureRequests] : [],
      [customFetch]: (target, { method, headers, body, signal }) =>
        providerFetch(target, { method, headers, body, signal: signal ?? undefined }, rules),
    }),
  );
  const { jwks_uri: location, authorization_endpoint: page } = configuration.serverMetadata();
  if (location === undefined || page === undefined)
    throw new MillraceError('E_PROVIDER', 'the sign-in provider names no keys or no page to sign in at');
  requireProviderUrl(page, rules);
  const response = await providerFetch(location, { headers: { accept: 'application/json' } }, rules);
  const json = await response.json().catch(() => undefined);
  const { keys } = parse(keySetSchema, json, 'keys of the sign-in provider', 'E_PROVIDER');
  const known = keys.flatMap((key) => (key.use === undefined || key.use === 'sig' ? publicKeyOf(key) : []));
  if (known.length === 0 || known.length > MAX_KEYS)
    throw new MillraceError('E_PROVIDER', `the sign-in provider has ${known.length} keys of kinds that are supported`);
  return { configuration, keys: known };
}

/** Without the members that a thumbprint ignores. Empty for other kinds of keys. */
function publicKeyOf({ kty, crv, n, e, x, y }: Record<string, unknown>): ProviderKey[] {
  const fields = kty === 'RSA' ? { kty, n, e } : kty === 'EC' ? { kty, crv, x, y } : { kty, crv, x };
  const parsed = providerKey.safeParse(fields);
  return parsed.success ? [parsed.data] : [];
}

/** A sign-in that has begun. Whoever finishes it has to be who began it: `state` and `verifier` are secrets of that. */
export interface BegunSignIn {
  /** Where the person signs in. */
  readonly address: string;
  readonly state: string;
  /** Of PKCE. */
  readonly verifier: string;
  readonly nonce: string;
}

/**
 * Begins a sign-in.
 * @param terms `redirect`: the address to which the provider sends the person back; `scopes`: in addition to
 *   `openid email`
 */
export async function beginSignIn(
  { configuration }: Provider,
  terms: { readonly redirect: string; readonly nonce: string; readonly scopes?: readonly string[] | undefined },
): Promise<BegunSignIn> {
  const { redirect, nonce, scopes = [] } = terms;
  const [verifier, state] = [randomPKCECodeVerifier(), randomState()];
  const address = buildAuthorizationUrl(configuration, {
    redirect_uri: redirect,
    scope: ['openid', 'email', ...scopes].join(' '),
    code_challenge: await calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...{ state, nonce },
  });
  return { address: address.href, state, verifier, nonce };
}

/**
 * Exchanges the code with which the person came back. Checks state, issuer, PKCE and nonce; who signed the ID token is
 * for the caller to verify.
 * @param answer the redirect address with the provider's parameters
 * @returns the ID token
 * @throws {MillraceError} E_PROVIDER: the person or the provider refused; E_UNAVAILABLE, E_TIMEOUT
 */
export async function finishSignIn(
  { configuration }: Provider,
  { verifier, state, nonce }: Omit<BegunSignIn, 'address'>,
  answer: URL,
): Promise<string> {
  const tokens = await answered('the sign-in', () =>
    authorizationCodeGrant(configuration, answer, {
      ...{ pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true },
    }),
  );
  if (tokens.id_token === undefined) throw new MillraceError('E_PROVIDER', 'the sign-in provider issued no ID token');
  return tokens.id_token;
}

/** The provider's keys that the organisation has pinned. @throws {MillraceError} E_SIGN_IN if it has pinned none */
export async function requirePinned(
  { keys }: Pick<Provider, 'keys'>,
  { keys: pins }: Pick<SignInDocument, 'keys'>,
): Promise<readonly ProviderKey[]> {
  const pinned: ProviderKey[] = [];
  for (const key of keys) {
    const thumbprint = await providerKeyThumbprint(key);
    if (pins.some((pin) => equalBytes(pin, thumbprint))) pinned.push(key);
  }
  if (pinned.length > 0) return pinned;
  throw new MillraceError(
    'E_SIGN_IN',
    'the organisation names none of the provider’s present keys: an owner-admin runs `org refresh-sign-in`',
  );
}

/** Errors of the OpenID client become coded ones. They contain no tokens. */
async function answered<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const coded = causeOf(error);
    if (coded !== undefined) throw coded;
    const reason = error instanceof Error ? error.message : String(error);
    throw new MillraceError('E_PROVIDER', `the sign-in provider’s answer to ${what} is not accepted: ${reason}`, {
      cause: error,
    });
  }
}

function causeOf(error: unknown): MillraceError | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause instanceof MillraceError) return cause;
  return undefined;
}
