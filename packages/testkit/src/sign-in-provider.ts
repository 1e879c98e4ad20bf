import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, importJWK, type JWK, type JWTPayload, SignJWT } from 'jose';
import { Provider } from 'oidc-provider';

/** A person at the provider. Claims are those of the ID token. */
export interface ProviderPerson {
  readonly email: string;
  readonly email_verified: boolean;
  readonly groups?: readonly string[];
}

export interface TestProvider {
  readonly issuer: string;
  /** The public key of the provider. */
  readonly key: JWK;
  /** Whoever signs in next. */
  person: string;
  /** Signs any ID token with the provider's real key. */
  issue(claims: JWTPayload, header?: object): Promise<string>;
  /** Signs in as `person`, as a browser does. @returns the status of the application's answer to the redirect */
  browse(address: string): Promise<number>;
  /** The same without the last step. @returns the address to which the provider sends the person back */
  signIn(address: string): Promise<string>;
  /** Stops answering; `close` afterwards is allowed. */
  close(): Promise<void>;
}

export const CLIENT = 'millrace';
/** Another application of the same provider. */
export const OTHER_CLIENT = 'wiki';

/**
 * A real OpenID provider on this computer, over HTTP, whose people need no password.
 * @param redirects addresses to which it sends people back, in addition to 127.0.0.1
 */
export async function startProvider(
  people: Readonly<Record<string, ProviderPerson>>,
  redirects: readonly string[] = [],
): Promise<TestProvider> {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  const secret = { ...(await exportJWK(privateKey)), use: 'sig', alg: 'RS256', kid: 'first' };
  const key: JWK = { kty: 'RSA', n: secret.n as string, e: secret.e as string };
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const state = { person: Object.keys(people)[0] ?? '' };
  const client = (id: string) => ({
    ...{ client_id: id, token_endpoint_auth_method: 'none' as const, application_type: 'native' as const },
    ...{
      redirect_uris: ['http://127.0.0.1/callback', ...redirects],
      grant_types: ['authorization_code'],
      response_types: ['code' as const],
    },
  });
  const provider = new Provider(issuer, {
    clients: [client(CLIENT), client(OTHER_CLIENT)],
    jwks: { keys: [secret as never] },
    conformIdTokenClaims: false,
    claims: { openid: ['sub'], email: ['email', 'email_verified', 'groups'] },
    cookies: { keys: ['not secret: a test'] },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_context, { uid }) => `/interaction/${uid}` },
    pkce: { required: () => true },
    findAccount: (_context, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, ...(people[id] ?? {}) }) as never,
    }),
    // The people have agreed already.
    loadExistingGrant: async (context) => {
      const { client: application, session } = context.oidc;
      const grant = new context.oidc.provider.Grant({
        clientId: application?.clientId ?? '',
        accountId: session?.accountId ?? '',
      });
      grant.addOIDCScope('openid email');
      await grant.save();
      return grant;
    },
  });
  const handle = provider.callback();
  server.on('request', (request, response) => {
    if (!request.url?.startsWith('/interaction/')) return void handle(request, response);
    // Native applications need the person's consent each time.
    const result = { login: { accountId: state.person }, consent: {} };
    void provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  });
  return {
    issuer,
    key,
    get person() {
      return state.person;
    },
    set person(person) {
      state.person = person;
    },
    issue: async (claims, header = {}) =>
      new SignJWT(claims)
        .setProtectedHeader({ alg: 'RS256', kid: 'first', ...header })
        .sign(await importJWK(secret, 'RS256')),
    browse: async (address) => (await fetch(await signIn(address), { redirect: 'manual' })).status,
    signIn,
    close: () => closeServer(server),
  };
}

const MAX_REDIRECTS = 15;

/** Follows redirects with cookies until they leave the provider. */
async function signIn(address: string): Promise<string> {
  const cookies = new Map<string, string>();
  const origin = new URL(address).origin;
  let url = address;
  for (let step = 0; step < MAX_REDIRECTS; step++) {
    if (new URL(url).origin !== origin) return url;
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const response = await fetch(url, { redirect: 'manual', headers: { cookie } });
    for (const set of response.headers.getSetCookie()) {
      const [name = '', value = ''] = (set.split(';')[0] ?? '').split('=');
      cookies.set(name, value);
    }
    const next = response.headers.get('location');
    await response.arrayBuffer();
    if (next === null) throw new Error(`the provider answers ${response.status}`);
    url = new URL(next, url).href;
  }
  throw new Error('the provider redirects again and again');
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
