import { X509Certificate } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer, connect as tlsConnect } from 'node:tls';
import { MillraceError, utf8 } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createAuthority,
  createHpkeRecipient,
  createHpkeSender,
  fingerprint,
  generateP256Key,
  generateUserKey,
  keyId,
  openAuthority,
  ownerSealingKey,
  p256Key,
  parseSign1,
  partyOf,
  seal,
  sign1,
  unseal,
  unsealByAgreement,
  userKey,
  verifySign1,
  verifySignature,
} from '../src/index.ts';

const context = utf8('test');
const codeOf = async (action: () => unknown): Promise<string> => {
  try {
    await action();
  } catch (error) {
    if (error instanceof MillraceError) return error.code;
    throw error;
  }
  return 'nothing thrown';
};

describe('COSE_Sign1', () => {
  it.each([
    ['ES256K', generateUserKey()],
    ['ES256', generateP256Key()],
  ] as const)('signs and verifies with %s', async (algorithm, key) => {
    const signed = await sign1(key, keyId(key.publicKey), utf8('payload'), context);
    const parsed = parseSign1(signed);
    expect(parsed.payload).toEqual(utf8('payload'));
    verifySign1(parsed, algorithm, key.publicKey, context, verifySignature);
    expect(await codeOf(() => verifySign1(parsed, algorithm, key.publicKey, utf8('other'), verifySignature))).toBe(
      'E_SIGNATURE',
    );
  });

  it('rejects every single changed byte', async () => {
    const key = generateUserKey();
    const signed = await sign1(key, keyId(key.publicKey), utf8('payload'), context);
    for (let position = 0; position < signed.length; position++) {
      const changed = signed.slice();
      changed[position] = (changed[position] ?? 0) ^ 1;
      const outcome = await codeOf(() => {
        const parsed = parseSign1(changed);
        // A changed key id names another key, which the caller looks up. The signature covers the key id too.
        verifySign1(parsed, 'ES256K', key.publicKey, context, verifySignature);
      });
      expect(outcome, `byte ${position}`).toBe('E_SIGNATURE');
    }
  });

  it('rejects random bytes with a code', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        expect(await codeOf(() => parseSign1(Uint8Array.of(0xd2, ...bytes)))).toBe('E_SIGNATURE');
      }),
    );
  });

  it('matches the published secp256k1 and P-256 base points; key agreement is symmetric', async () => {
    const one = new Uint8Array(32);
    one[31] = 1;
    expect(Buffer.from(userKey(one).publicKey).toString('hex')).toBe(
      '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798',
    );
    expect(Buffer.from(p256Key(one).publicKey).toString('hex').slice(0, 66)).toBe(
      '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296',
    );
    const [a, b] = [generateP256Key(), generateP256Key()];
    expect(await a.agree(b.publicKey)).toEqual(await b.agree(a.publicKey));
    expect(await codeOf(() => a.agree(new Uint8Array(65)))).toBe('E_INPUT');
  });
});

describe('sealing', () => {
  it('opens only for its recipient, sender and use', async () => {
    const [recipient, sender, other] = [generateP256Key(), generateP256Key(), generateP256Key()];
    const sealed = await seal(recipient.publicKey, context, utf8('secret'), { sender });
    expect(await unseal(recipient, context, sealed, { sender: sender.publicKey })).toEqual(utf8('secret'));
    expect(await codeOf(() => unseal(other, context, sealed, { sender: sender.publicKey }))).toBe('E_SEAL');
    expect(await codeOf(() => unseal(recipient, context, sealed, { sender: other.publicKey }))).toBe('E_SEAL');
    expect(await codeOf(() => unseal(recipient, utf8('x'), sealed, { sender: sender.publicKey }))).toBe('E_SEAL');
    sealed[70] = (sealed[70] ?? 0) ^ 1;
    expect(await codeOf(() => unseal(recipient, context, sealed, { sender: sender.publicKey }))).toBe('E_SEAL');
    expect(await codeOf(() => unseal(recipient, context, new Uint8Array(10)))).toBe('E_SEAL');
  });

  it('opens with a key that only supports agreement, like one in a token', async () => {
    const [recipient, other] = [generateP256Key(), generateP256Key()];
    const { publicKey, agree } = recipient;
    const sealed = await seal(publicKey, context, utf8('secret'));
    expect(await unsealByAgreement({ publicKey, agree }, context, sealed)).toEqual(utf8('secret'));
    expect(await codeOf(() => unsealByAgreement({ publicKey, agree: other.agree }, context, sealed))).toBe('E_SEAL');
    expect(await codeOf(() => unsealByAgreement({ publicKey, agree }, utf8('x'), sealed))).toBe('E_SEAL');
    expect(await codeOf(() => unsealByAgreement({ publicKey, agree }, context, sealed.subarray(1)))).toBe('E_SEAL');
  });

  it('binds the order of a session and its sender', async () => {
    const [recipient, node, other] = [generateP256Key(), generateP256Key(), generateP256Key()];
    const psk = { id: utf8('id'), key: new Uint8Array(32).fill(7) };
    const sender = await createHpkeSender(recipient.publicKey, context, psk, node);
    const receiver = await createHpkeRecipient(recipient, sender.enc, context, psk, node.publicKey);
    const stranger = await createHpkeRecipient(recipient, sender.enc, context, psk, other.publicKey);
    const first = await sender.seal(utf8('1'), utf8('a'));
    const second = await sender.seal(utf8('2'), utf8('b'));
    expect(await codeOf(() => receiver.open(second, utf8('b')))).toBe('E_SEAL');
    expect(await receiver.open(first, utf8('a'))).toEqual(utf8('1'));
    expect(await receiver.open(second, utf8('b'))).toEqual(utf8('2'));
    expect(await codeOf(() => stranger.open(first, utf8('a')))).toBe('E_SEAL');
    const unlike = { ...psk, key: new Uint8Array(32) };
    const wrong = await createHpkeRecipient(recipient, sender.enc, context, unlike, node.publicKey);
    expect(await codeOf(() => wrong.open(first, utf8('a')))).toBe('E_SEAL');
  });

  it('derives the same sealing key from the same secret', async () => {
    const secret = new Uint8Array(32).fill(5);
    const [one, two] = [ownerSealingKey(secret), ownerSealingKey(secret)];
    expect(one.publicKey).toEqual(two.publicKey);
    expect(ownerSealingKey(new Uint8Array(32).fill(6)).publicKey).not.toEqual(one.publicKey);
    expect(await unseal(two, context, await seal(one.publicKey, context, utf8('position')))).toEqual(utf8('position'));
  });
});

describe('certificates', () => {
  it('identify a party over mutual TLS 1.3', async () => {
    const authority = await createAuthority('Millrace test', Date.now());
    const again = await openAuthority(authority.identity, Date.now);
    const server = await again.issue({ role: 'control', id: 'control-2' }, ['127.0.0.1', 'localhost']);
    const user = await again.issue({ role: 'user', name: 'ab'.repeat(16) });
    expect(partyOf(new X509Certificate(user.certificate))).toEqual({ role: 'user', name: 'ab'.repeat(16) });
    expect(partyOf(new X509Certificate(server.certificate))).toEqual({ role: 'control', id: 'control-2' });
    expect(fingerprint(user.certificate)).toMatch(/^[0-9a-f]{64}$/);

    const seen = await new Promise<unknown>((resolve, reject) => {
      const listener = createServer(
        {
          key: Buffer.from(server.key),
          cert: server.certificate,
          ca: authority.identity.certificate,
          requestCert: true,
          rejectUnauthorized: true,
          minVersion: 'TLSv1.3',
        },
        (socket) => {
          const certificate = socket.getPeerX509Certificate();
          resolve(certificate && [partyOf(certificate), socket.getProtocol()]);
          socket.destroy();
          listener.close();
        },
      );
      listener.listen(0, '127.0.0.1', () => {
        const { port } = listener.address() as AddressInfo;
        tlsConnect({
          host: '127.0.0.1',
          port,
          key: Buffer.from(user.key),
          cert: user.certificate,
          ca: authority.identity.certificate,
        })
          .on('error', reject)
          .resume();
      });
    });
    expect(seen).toEqual([{ role: 'user', name: 'ab'.repeat(16) }, 'TLSv1.3']);
  });
});
