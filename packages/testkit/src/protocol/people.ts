import { type Bytes, systemClock, systemRandom, toHex } from '@millrace/base';
import { generateUserKey, keyName, type MemorySigner } from '@millrace/identity';
import {
  encodeCredential,
  type OrganisationKind,
  type PersonRole,
  proveInvitation,
  signTransaction,
  type Transaction,
} from '@millrace/protocol';

const DAY_MS = 86_400_000;

export interface TestOrganisation {
  readonly organisation: string;
  readonly name: string;
  readonly document: Bytes;
}

export interface TestPerson {
  readonly key: MemorySigner;
  readonly credential: Bytes;
}

type Common = 'id' | 'issued' | 'expires';
export type TransactionBody = Transaction extends infer T ? (T extends Transaction ? Omit<T, Common> : never) : never;

/** Organisations and people whose documents the administrator of an installation has signed. */
export function createPeople({
  admin,
  installation,
  now = systemClock.now,
}: {
  readonly admin: MemorySigner;
  readonly installation: string;
  readonly now?: () => number;
}) {
  const sign = (signer: MemorySigner, body: TransactionBody, times: Partial<Pick<Transaction, Common>> = {}) =>
    signTransaction(signer, installation, {
      ...body,
      id: systemRandom(16),
      issued: now(),
      expires: now() + 600_000,
      ...times,
    } as Transaction);
  return {
    sign,
    organisation: async (name: string, kind: OrganisationKind): Promise<TestOrganisation> => {
      const organisation = toHex(systemRandom(16));
      const document = await sign(admin, { type: 'organisation.register', organisation, name, kinds: [kind] });
      return { organisation, name, document };
    },
    person: async (
      { organisation, document: registered }: TestOrganisation,
      name: string,
      roles: PersonRole[],
      until = now() + 100 * DAY_MS,
    ): Promise<TestPerson> => {
      const [key, invitation] = [generateUserKey(), generateUserKey()];
      const person = toHex(systemRandom(16));
      const invited = { organisation, person, name, roles, invitation: invitation.publicKey, until };
      const document = await sign(admin, { type: 'member.invite', ...invited });
      const enrolment = await sign(key, {
        type: 'key.enrol',
        invitation: keyName(invitation.publicKey),
        publicKey: key.publicKey,
        device: 'laptop',
        proof: await proveInvitation(invitation, installation, key.publicKey),
      });
      return { key, credential: encodeCredential([enrolment, document, registered]) };
    },
  };
}
