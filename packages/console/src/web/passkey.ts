import { type Bytes, MillraceError } from '@millrace/base';
import type { Unlock } from './wrap.ts';

// Passkeys give this browser a secret (WebAuthn PRF). Control never sees a passkey: it verifies the person's own key.

export const passkeysAreOffered = () => 'PublicKeyCredential' in globalThis && 'credentials' in navigator;

/** The extension's results; the type library does not have all of them. */
interface PrfResults {
  readonly prf?: { readonly enabled?: boolean; readonly results?: { readonly first: ArrayBuffer | Uint8Array } };
}

const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));

/**
 * Makes a passkey for this person.
 * @returns its identifier and what it opens; undefined if it has no secrets (no PRF)
 * @throws {MillraceError} E_AUTH if the person cancels
 */
export async function makePasskey(name: string, salt: Bytes): Promise<{ id: Bytes; unlock: Unlock } | undefined> {
  const made = await asked(
    navigator.credentials.create({
      publicKey: {
        rp: { name: 'Millrace' },
        user: { id: random(16), name, displayName: name },
        // Control verifies no assertion, so nobody depends on the challenge.
        challenge: random(32),
        pubKeyCredParams: [
          { type: 'public-key', alg: -7 },
          { type: 'public-key', alg: -257 },
        ],
        authenticatorSelection: { residentKey: 'preferred', userVerification: 'required' },
        extensions: { prf: { eval: { first: salt } } } as AuthenticationExtensionsClientInputs,
      },
    }),
  );
  const { prf } = made.getClientExtensionResults() as PrfResults;
  const id = new Uint8Array(made.rawId);
  if (prf?.results !== undefined) return { id, unlock: await unlockOf(prf.results.first) };
  if (prf?.enabled !== true) return undefined;
  return { id, unlock: await usePasskey(id, salt) };
}

/** Asks the person for the passkey. @throws {MillraceError} E_AUTH if the person cancels */
export async function usePasskey(id: Bytes, salt: Bytes): Promise<Unlock> {
  const used = await asked(
    navigator.credentials.get({
      publicKey: {
        challenge: random(32),
        allowCredentials: [{ type: 'public-key', id }],
        userVerification: 'required',
        extensions: { prf: { eval: { first: salt } } } as AuthenticationExtensionsClientInputs,
      },
    }),
  );
  const { prf } = used.getClientExtensionResults() as PrfResults;
  if (prf?.results === undefined) throw new MillraceError('E_AUTH', 'the passkey gave no secret');
  return unlockOf(prf.results.first);
}

/** The secret becomes a key that no script can read. */
async function unlockOf(secret: ArrayBuffer | Uint8Array): Promise<Unlock> {
  const bytes = new Uint8Array(secret);
  try {
    return { kind: 'passkey', key: await crypto.subtle.importKey('raw', bytes, 'HKDF', false, ['deriveKey']) };
  } finally {
    bytes.fill(0);
  }
}

async function asked(asking: Promise<Credential | null>): Promise<PublicKeyCredential> {
  const credential = await asking.catch((cause: unknown) => {
    throw new MillraceError('E_AUTH', 'the passkey was not used', { cause });
  });
  if (!(credential instanceof PublicKeyCredential)) throw new MillraceError('E_AUTH', 'the passkey was not used');
  return credential;
}
