import type { ProviderKey, SignInDocument } from '@millrace/protocol';
import {
  beginSignIn,
  discoverProvider,
  finishSignIn,
  type ProviderRules,
  requirePinned,
} from '@millrace/protocol/provider';
import { listenForRedirect } from './loopback-redirect.ts';

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
  const { signIn, rules, nonce, port, scopes, show, signal } = options;
  const provider = await discoverProvider(signIn.issuer, signIn.clientId, rules);
  const keys = await requirePinned(provider, signIn);
  const redirect = await listenForRedirect({ port, signal });
  try {
    const begun = await beginSignIn(provider, { redirect: redirect.address, nonce, scopes });
    show(begun.address);
    return { idToken: await finishSignIn(provider, begun, await redirect.answer(begun.state)), keys };
  } finally {
    await redirect.close();
  }
}
