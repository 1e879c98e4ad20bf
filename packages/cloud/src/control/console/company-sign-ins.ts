import { MillraceError, type RandomSource, toHex, utf8 } from '@millrace/base';
import { sha256 } from '@millrace/base/crypto';
import {
  type Directory,
  type ProviderKey,
  requireUnrevoked,
  type SignInDocument,
  verifyKeylessSignIn,
  verifyOrganisationSignIn,
} from '@millrace/protocol';
import {
  type BegunSignIn,
  beginSignIn,
  discoverProvider,
  finishSignIn,
  type Provider,
  type ProviderRules,
  requirePinned,
} from '@millrace/protocol/provider';
import type { ControlContext } from '../context.ts';
import { requireSignerCounting } from '../people.ts';
import type { SignInRecord } from '../records.ts';
import { PROVIDER_SKEW_MS } from '../sign-in.ts';
import type { SessionHolder } from './sessions.ts';

// Company sign-in at the console: authorization code with PKCE. Control keeps state, verifier and nonce of a sign-in
// that has begun; a cookie binds it to the browser. Whether somebody is admitted is decided by the keys that an
// owner-admin has pinned, never by the connection to the provider.

/** How long a person may take at the provider, ms. */
export const SIGN_IN_MS = 10 * 60_000;
/** Sign-ins that have begun and not ended: of one address, of all. */
const MOST_OF_AN_ADDRESS = 200;
const MOST = 2_000;
/** How long what a provider says of itself is used, ms, and of how many providers. */
const PROVIDER_MS = 10 * 60_000;
const MOST_PROVIDERS = 200;

type CompanyHolder = Extract<SessionHolder, { kind: 'company' }>;
type Records = Pick<ControlContext, 'records' | 'clock' | 'directory'>;

interface Begun extends BegunSignIn {
  readonly terms: SignInDocument;
  readonly provider: Provider;
  readonly keys: readonly ProviderKey[];
  /** The nonce commits to a key of the browser. */
  readonly enrols: boolean;
  /** IP address of the caller. */
  readonly from: string;
  readonly until: number;
}

/** What a sign-in gives: a session, or what the browser needs to enrol its key. */
export type Ended =
  | { readonly holder: CompanyHolder }
  | { readonly enrolment: { readonly idToken: string; readonly providerKey: ProviderKey } };

export interface CompanySignInsOptions {
  readonly rules: ProviderRules;
  readonly random: RandomSource;
  /** Address to which the provider sends people back: the console's page. */
  readonly redirect: () => string;
}

/** Sign-ins at providers that have begun in browsers. They are kept in memory: a restart of control ends them. */
export class CompanySignIns {
  readonly #context: Records;
  readonly #options: CompanySignInsOptions;
  /** By the hash of the cookie's secret. */
  readonly #begun = new Map<string, Begun>();
  readonly #providers = new Map<string, { readonly at: number; readonly provider: Promise<Provider> }>();

  constructor(context: Records, options: CompanySignInsOptions) {
    this.#context = context;
    this.#options = options;
  }

  /**
   * @param nonce the nonce that commits to the key that the browser enrols; undefined for a session without a key
   * @param from IP address of the caller
   * @returns where the person signs in, at whose provider, and the secret for the cookie
   * @throws {MillraceError} E_NOT_FOUND, E_EXPIRED, E_REVOKED, E_SIGN_IN, E_PROVIDER, E_UNAVAILABLE, E_TIMEOUT, E_QUOTA
   */
  async begin(organisation: string, nonce: string | undefined, from: string) {
    const { random, redirect } = this.#options;
    this.#requireRoom(from);
    const terms = await currentTerms(this.#context, organisation);
    const provider = await this.#providerOf(terms);
    const keys = await requirePinned(provider, terms);
    const secret = textOf(random(32));
    const begun = await beginSignIn(provider, { redirect: redirect(), nonce: nonce ?? textOf(random(32)) });
    this.#requireRoom(from);
    const until = this.#context.clock.now() + SIGN_IN_MS;
    this.#begun.set(nameOf(secret), { ...begun, terms, provider, keys, enrols: nonce !== undefined, from, until });
    const { name: organisationName } = await this.#context.records.organisations.require(organisation);
    return { address: begun.address, issuer: terms.issuer, organisationName, secret };
  }

  /**
   * Ends a sign-in of the browser with this secret. It counts once, unless the answer belongs to another sign-in.
   * @param answer query of the address with which the browser came back
   * @throws {MillraceError} E_SIGN_IN: not begun here, or not admitted; E_PROVIDER, E_SIGNATURE, E_CONFLICT, E_EXPIRED,
   *   E_CLOCK, E_REVOKED, E_UNAVAILABLE, E_TIMEOUT
   */
  async end(secret: string, answer: string): Promise<Ended> {
    const { clock, directory } = this.#context;
    const name = nameOf(secret);
    const begun = this.#begun.get(name);
    if (begun === undefined || clock.now() > begun.until)
      throw new MillraceError('E_SIGN_IN', 'this browser has begun no sign-in, or took too long: begin again');
    const url = new URL(this.#options.redirect());
    url.search = answer;
    // Somebody else’s answer does not end the person’s own sign-in.
    if (url.searchParams.getAll('state').join() !== begun.state)
      throw new MillraceError('E_SIGN_IN', 'the answer belongs to another sign-in: begin again');
    this.#begun.delete(name);
    const { provider, terms, keys, nonce, enrols } = begun;
    const idToken = await finishSignIn(provider, begun, url);
    const { organisation } = terms;
    const current = await currentTerms(this.#context, organisation);
    const signIn = toHex(current.id);
    if (signIn !== toHex(terms.id))
      throw new MillraceError('E_CONFLICT', 'the organisation’s sign-in was replaced meanwhile: begin again');
    const { claims, key, ...person } = await verifyKeylessSignIn(idToken, keys, { signIn: current, nonce });
    const now = clock.now();
    if (now > claims.exp * 1_000 + PROVIDER_SKEW_MS || now > person.until)
      throw new MillraceError('E_EXPIRED', 'the ID token has expired: begin again');
    if (now < claims.iat * 1_000 - PROVIDER_SKEW_MS)
      throw new MillraceError('E_CLOCK', 'the ID token is dated in the future');
    requireUnrevoked(directory, person.person);
    if (enrols) return { enrolment: { idToken, providerKey: key } };
    const { name: email, person: id, roles, until } = person;
    return { holder: { kind: 'company', name: id, email, organisation, roles, signIn, until } };
  }

  /** What the provider says of itself, asked for again from time to time. */
  #providerOf({ id, issuer, clientId }: SignInDocument): Promise<Provider> {
    const now = this.#context.clock.now();
    const name = toHex(id);
    const known = this.#providers.get(name);
    if (known !== undefined && now < known.at + PROVIDER_MS) return known.provider;
    const provider = discoverProvider(issuer, clientId, this.#options.rules);
    this.#providers.delete(name);
    const [oldest] = this.#providers.keys();
    if (this.#providers.size >= MOST_PROVIDERS && oldest !== undefined) this.#providers.delete(oldest);
    this.#providers.set(name, { at: now, provider });
    provider.catch(() => {
      if (this.#providers.get(name)?.provider === provider) this.#providers.delete(name);
    });
    return provider;
  }

  /** @throws {MillraceError} E_QUOTA */
  #requireRoom(from: string): void {
    const now = this.#context.clock.now();
    let own = 0;
    for (const [name, begun] of this.#begun) {
      if (now > begun.until) this.#begun.delete(name);
      else if (begun.from === from) own += 1;
    }
    if (own >= MOST_OF_AN_ADDRESS || this.#begun.size >= MOST)
      throw new MillraceError('E_QUOTA', 'too many sign-ins have begun and not ended: wait ten minutes');
  }
}

/**
 * The organisation's sign-in as it counts now.
 * @throws {MillraceError} E_NOT_FOUND, E_EXPIRED, E_REVOKED
 */
async function currentTerms({ records, clock, directory }: Records, organisation: string): Promise<SignInDocument> {
  const record = await records.signIns.require(organisation);
  const terms = await verifyOrganisationSignIn(record.document, record.signer, directory);
  requireNotRevoked(directory, record);
  if (clock.now() > terms.until)
    throw new MillraceError('E_EXPIRED', 'the organisation’s sign-in has expired: an owner-admin refreshes it');
  return terms;
}

/**
 * Checks for every request of a session without a key that the sign-in by which it was opened still is the
 * organisation's, and that the person was not revoked.
 * @throws {MillraceError} E_EXPIRED, E_REVOKED
 */
export async function requireCompanyCounting(
  { records, directory }: Pick<ControlContext, 'records' | 'directory'>,
  { name, organisation, signIn }: CompanyHolder,
): Promise<void> {
  requireUnrevoked(directory, name);
  const record = await records.signIns.get(organisation);
  if (record === undefined || record.signIn !== signIn)
    throw new MillraceError('E_EXPIRED', 'the organisation’s sign-in was replaced meanwhile: sign in again');
  requireNotRevoked(directory, record);
}

function requireNotRevoked(directory: Directory, { signIn, document, signer }: SignInRecord): void {
  requireUnrevoked(directory, signIn);
  requireSignerCounting(directory, { transaction: document, credential: signer });
}

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
const nameOf = (secret: string) => toHex(sha256(utf8(secret)));
