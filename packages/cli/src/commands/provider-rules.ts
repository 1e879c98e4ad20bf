import type { ProviderRules } from '@millrace/protocol/provider';
import type { Context } from './context.ts';

export interface ProviderOptions {
  readonly privateNetwork?: boolean;
}

/** Where sign-in providers may be. `MILLRACE_OIDC_LOOPBACK=1` allows one on this computer, for tests. */
export function providerRules({ env }: Context, { privateNetwork }: ProviderOptions): ProviderRules {
  return { privateNetworks: privateNetwork === true, loopback: env.MILLRACE_OIDC_LOOPBACK === '1' };
}
