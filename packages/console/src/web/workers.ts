import { MillraceError } from '@millrace/base';

/** The part of the browser's trusted types used here. */
interface TrustedTypes {
  createPolicy(
    name: string,
    rules: { createScriptURL(address: string): string },
  ): {
    createScriptURL(address: string): string;
  };
}

let policy: ReturnType<TrustedTypes['createPolicy']> | undefined;

/** Scripts that the build has made: their names contain a hash. */
const BUILT = /^\/assets\/[\w.-]+\.js$/;

function builtScript(address: string): string {
  if (!BUILT.test(address)) throw new MillraceError('E_INTERNAL', 'only scripts of the build are started');
  return address;
}

/** Starts a worker. @param address as vite gives it for an import that ends with `?worker&url` */
export function startWorker(address: string): Worker {
  const { trustedTypes } = globalThis as { readonly trustedTypes?: TrustedTypes };
  policy ??= trustedTypes?.createPolicy('millrace-worker', { createScriptURL: builtScript });
  return new Worker(policy?.createScriptURL(address) ?? builtScript(address), { type: 'module' });
}
