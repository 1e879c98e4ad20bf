import { type Bytes, copyBytes, systemRandom, toHex, utf8 } from '@millrace/base';
import { formatInvitation, parseInvitation } from '@millrace/client';
import { generateUserKey, keyName, type MemorySigner } from '@millrace/identity';
import {
  credentialDocuments,
  encodeCredential,
  encodePublished,
  proveInvitation,
  Revocations,
  readCredential,
  signRevocationList,
  signTransaction,
  type Transaction,
  verifyCredential,
  withList,
} from '@millrace/protocol';
import type { Target } from '@millrace/testkit/fuzz/target';
import { createProtocolFixture, dated, NOW } from '@millrace/testkit/protocol/support';

/** Credentials, revocation lists, and the text of an invitation. */
export async function peopleTargets(): Promise<Target[]> {
  const { keys, directory } = createProtocolFixture();
  const { installation, adminKey } = directory;
  const organisation = toHex(systemRandom(16));
  const sign = (signer: MemorySigner, document: object) =>
    signTransaction(signer, installation, { ...dated(), ...document } as Transaction);
  const registered = await sign(keys.admin, {
    ...{ type: 'organisation.register', organisation, name: 'Brand', kinds: ['brand', 'bureau'] },
  });
  const enrol = async (type: 'member.invite' | 'device.invite', by: MemorySigner, chain: readonly Uint8Array[]) => {
    const [key, secret] = [generateUserKey(), generateUserKey()];
    const member = { organisation, person: toHex(systemRandom(16)), name: 'Ada', roles: ['owner-admin', 'designer'] };
    const body = { type, invitation: secret.publicKey, until: NOW + 1, ...(type === 'member.invite' ? member : {}) };
    const invitation = await sign(by, body);
    const proof = await proveInvitation(secret, installation, key.publicKey);
    const own = { invitation: keyName(secret.publicKey), publicKey: key.publicKey, device: 'laptop', proof };
    const enrolment = await sign(key, { type: 'key.enrol', ...own });
    return { key, credential: encodeCredential([enrolment, invitation, ...chain]) };
  };
  const ada = await enrol('member.invite', keys.admin, [registered]);
  const phone = await enrol('device.invite', ada.key, credentialDocuments(ada.credential));
  const alone = await sign(keys.admin, { type: 'user.register', publicKey: keys.owner.publicKey, name: 'owner' });
  const credentials: Bytes[] = [ada.credential, phone.credential, alone];

  const entry = { key: keyName(phone.key.publicKey), name: 'Ada', at: NOW, kept: [systemRandom(32)] };
  const list = { type: 'revocations' as const, ...dated(), sequence: 1 };
  const proven = { ...entry, credential: phone.credential };
  const own = await signRevocationList(ada.key, installation, { ...list, organisation, entries: [proven] });
  const everybodys = await signRevocationList(keys.admin, installation, { ...list, entries: [entry] });
  const lists = [encodePublished(own, ada.credential), encodePublished(everybodys)];

  const address = { host: 'control.example', port: 7601 };
  const addresses = { control: address, distribution: address };
  const invited = { installation, adminKey, directory: 3, addresses, secret: systemRandom(32) };
  const text = utf8(formatInvitation(invited));
  return [
    {
      name: 'credential',
      samples: credentials,
      cost: 'dear',
      codes: ['E_SIGNATURE', 'E_AUTH', 'E_INPUT', 'E_FORBIDDEN'],
      decode: (input) => verifyCredential(input, directory),
      accepts: 'samples',
    },
    {
      name: 'credential, unverified',
      samples: credentials,
      cost: 'cheap',
      codes: ['E_SIGNATURE', 'E_INPUT'],
      decode: readCredential,
      accepts: 'any',
    },
    {
      name: 'list of revoked keys',
      samples: lists,
      cost: 'dear',
      codes: ['E_SIGNATURE', 'E_AUTH', 'E_INPUT', 'E_FORBIDDEN'],
      decode: (input) => withList(new Revocations(), input, directory),
      accepts: 'samples',
    },
    {
      name: 'text of an invitation',
      samples: [copyBytes(text)],
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: (input) => parseInvitation(new TextDecoder('latin1').decode(input)),
      accepts: 'any',
    },
  ];
}
