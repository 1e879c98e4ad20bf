import { equalBytes, MillraceError, parse } from '@millrace/base';
import { type ProviderKey, providerKey, providerKeyThumbprint, type SignInDocument } from '@millrace/protocol';
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
import { listenForRedirect } from './loopback-redirect.ts';
import { type ProviderRules, providerFetch, requireProviderUrl } from './provider-fetch.ts';

// OpenID Connect: discovery, the provider's keys, and the sign-in of a native application (RFC 8252) by authorization
// code with PKCE.

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

export interface ProviderSignInOptions {
  readonly signIn: Pick<SignInDocument, 'issuer' | 'clientId' | 'keys'>;
  readonly rules: ProviderRules;
  /** Commits to the key that is enrolled. */
  readonly nonce: string;
  /** Port of the local redirect. Default: a free one. */
  readonly port?: number | undefined;
  /** Scopes in addition to `openid email`. */
  readonly scopes?: readonly string[];
  /** Shows the address at which the person signs in. */
  show(address: string): void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Lets the person sign in with a browser, and returns the ID token and the pinned keys of the provider.
 * @throws {MillraceError} E_PROVIDER, E_SIGN_IN: the person or the provider refused; E_UNAVAILABLE, E_TIMEOUT
 */
export async function signInAtProvider(
  options: ProviderSignInOptions,
): Promise<{ readonly idToken: string; readonly keys: readonly ProviderKey[] }> {
  const { signIn, rules, nonce, port, scopes = [], show, signal } = options;
  const { configuration, keys } = await discoverProvider(signIn.issuer, signIn.clientId, rules);
  const pinned = await keysPinned(keys, signIn.keys);
  const redirect = await listenForRedirect({ port, signal });
  try {
    const [verifier, state] = [randomPKCECodeVerifier(), randomState()];
    const address = buildAuthorizationUrl(configuration, {
      redirect_uri: redirect.address,
      scope: ['openid', 'email', ...scopes].join(' '),
      code_challenge: await calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      ...{ state, nonce },
    });
    show(address.href);
    const answer = await redirect.answer(state);
    const tokens = await answered('the sign-in', () =>
      authorizationCodeGrant(configuration, answer, {
        ...{ pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true },
      }),
    );
    if (tokens.id_token === undefined) throw new MillraceError('E_PROVIDER', 'the sign-in provider issued no ID token');
    return { idToken: tokens.id_token, keys: pinned };
  } finally {
    await redirect.close();
  }
}

async function keysPinned(keys: readonly ProviderKey[], pins: SignInDocument['keys']): Promise<ProviderKey[]> {
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
