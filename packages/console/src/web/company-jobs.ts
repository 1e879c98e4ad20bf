import { type Bytes, fromBase64, MillraceError, systemClock, systemRandom, toBase64, wipe } from '@millrace/base';
import {
  type Enrolling,
  enrolBySignIn,
  parseInstallation,
  readSignIn,
  type SigningContext,
  signInCommitment,
} from '@millrace/client';
import { generateUserKey, keyName, type MemorySigner, ownerSealingKey, userKey } from '@millrace/identity';
import type { DirectoryAnchor, ProviderKey } from '@millrace/protocol';
import { control, directoryBy } from './cloud.ts';
import { aboutOf, type Identity } from './identity-shape.ts';
import { type Unlock, unwrapKey, wrapKey } from './wrap.ts';

// Company sign-in enrols a key in two steps, because the person leaves the page in between. The first makes the key and
// the nonce that commits to it. The second signs the enrolment with the provider's ID token.

/** What the page keeps while the person is at the provider. The key in it is wrapped. */
export interface PendingKey {
  readonly identity: Identity;
  /** Text of the company sign-in. */
  readonly text: string;
  readonly device: string;
  /** Base64: what makes the nonce unpredictable. */
  readonly random: string;
}

export type CompanyJob =
  | {
      readonly type: 'company-key';
      readonly text: string;
      readonly device: string;
      readonly salt: Uint8Array<ArrayBuffer>;
      /** Identifier of the passkey, base64. */
      readonly passkey?: string | undefined;
    }
  | { readonly type: 'company-renewal'; readonly text: string; readonly device: string; readonly identity: Identity }
  | {
      readonly type: 'company-enrolment';
      readonly pending: PendingKey;
      readonly idToken: string;
      readonly providerKey: ProviderKey;
    };

export interface Prepared {
  readonly pending: PendingKey;
  readonly nonce: string;
}

/** @param signIn asks control for a session */
export async function performForCompany(
  job: CompanyJob,
  unlock: Unlock,
  signIn: (context: SigningContext) => Promise<void>,
): Promise<Prepared | Identity> {
  switch (job.type) {
    case 'company-key':
      return makeKey(job, unlock);
    case 'company-renewal':
      return withKey(job.identity, unlock, (enrolling) => prepare(enrolling, job));
    case 'company-enrolment': {
      const { pending, idToken, providerKey } = job;
      const { identity, text, device, random } = pending;
      return withKey(identity, unlock, async (enrolling, sealingKey) => {
        const found = await readSignIn(control, enrolling.directory, organisationOf(text));
        const token = {
          idToken,
          keys: [providerKey],
          random: fromBase64(random),
          device: { name: device, sealingKey },
        };
        const { name } = await enrolBySignIn(enrolling, found, token);
        await signIn(enrolling);
        return { ...identity, name, company: text };
      });
    }
  }
}

async function makeKey(
  { text, device, salt, passkey }: Extract<CompanyJob, { type: 'company-key' }>,
  unlock: Unlock,
): Promise<Prepared> {
  const { installation, adminKey, addresses } = parseInstallation(text);
  const signer = generateUserKey(systemRandom);
  const own = signer.exportSecret();
  try {
    const enrolling = await enrollingBy({ installation, adminKey }, signer);
    const key = keyName(signer.publicKey);
    const wrapped = await wrapKey(own, unlock, { salt, about: aboutOf({ installation, key }), random: systemRandom });
    const kept = { version: 1 as const, installation, adminKey, addresses, key, name: device, wrapped };
    const identity = { ...kept, ...(passkey === undefined ? {} : { passkey }) };
    return prepare(enrolling, { text, device, identity });
  } finally {
    wipe(own);
    signer.close();
  }
}

function prepare(enrolling: Enrolling, kept: Pick<PendingKey, 'text' | 'device' | 'identity'>): Prepared {
  const { random, nonce } = signInCommitment(enrolling, organisationOf(kept.text));
  const { text, device, identity } = kept;
  return { pending: { text, device, identity, random: toBase64(random) }, nonce };
}

async function withKey<T>(
  identity: Identity,
  unlock: Unlock,
  work: (enrolling: Enrolling, sealingKey: Bytes) => T | Promise<T>,
): Promise<T> {
  const secret = await unwrapKey(identity.wrapped, unlock, aboutOf(identity));
  const signer = userKey(secret);
  const sealing = ownerSealingKey(secret);
  sealing.close();
  wipe(secret);
  try {
    return await work(await enrollingBy(identity, signer), sealing.publicKey);
  } finally {
    signer.close();
  }
}

async function enrollingBy(anchor: DirectoryAnchor, signer: MemorySigner): Promise<Enrolling> {
  const { directory } = await directoryBy(anchor);
  return { control, directory, signer, clock: systemClock, random: systemRandom };
}

/** @throws {MillraceError} E_INPUT */
function organisationOf(text: string): string {
  const { organisation } = parseInstallation(text);
  if (organisation === undefined) throw new MillraceError('E_INPUT', 'the text names no organisation');
  return organisation;
}
