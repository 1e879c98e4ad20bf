import { wipe } from '@millrace/base';
import type { MemorySigner } from '@millrace/identity';

/** Runs `work` with the user's secret, from which the keys of private parts are derived; wiped afterwards. */
export async function withSecret<T>(
  { signer }: { readonly signer: MemorySigner },
  work: (secret: Uint8Array) => T,
): Promise<Awaited<T>> {
  const secret = signer.exportSecret();
  try {
    return await work(secret);
  } finally {
    wipe(secret);
  }
}
