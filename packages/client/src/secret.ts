import { wipe } from '@millrace/base';
import { type MemorySigner, ownerSealingKey, type P256Key } from '@millrace/identity';

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

/** Runs `work` with the key to which machines and other designers seal for the user; closed afterwards. */
export async function withSealingKey<T>(
  user: { readonly signer: MemorySigner },
  work: (key: P256Key) => Promise<T>,
): Promise<T> {
  const key = await withSecret(user, ownerSealingKey);
  try {
    return await work(key);
  } finally {
    key.close();
  }
}
