import 'reflect-metadata'; // must be loaded before x509, for its dependency injection
import { webcrypto } from 'node:crypto';
import { type Bytes, copyBytes, MillraceError, systemRandom, toHex } from '@millrace/base';
import {
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { type Authority, type Party, partyUri, type TlsIdentity } from './certificates.ts';

cryptoProvider.set(webcrypto as Crypto);

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const DAY = 86_400_000;

/** See authority.ts. */
export async function createAuthority(name: string, now: number): Promise<Authority> {
  const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as CryptoKeyPair;
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=${name}`,
    notBefore: new Date(now - DAY),
    notAfter: new Date(now + 3652 * DAY),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  return openAuthority({ certificate: certificate.toString('pem'), key: await exportKey(keys.privateKey) }, () => now);
}

/** See authority.ts. */
export async function openAuthority(identity: TlsIdentity, now: () => number): Promise<Authority> {
  let certificate: X509Certificate;
  let signingKey: CryptoKey;
  try {
    certificate = new X509Certificate(identity.certificate);
    signingKey = await importKey(identity.key);
  } catch (cause) {
    throw new MillraceError('E_CONFIG', 'the certificate authority cannot be read', { cause });
  }
  const sign = (party: Party, publicKey: CryptoKey, hosts: readonly string[], expires: number) =>
    X509CertificateGenerator.create({
      serialNumber: serialNumber(),
      subject: `CN=${partyUri(party)}`,
      issuer: certificate.subject,
      notBefore: new Date(now() - DAY),
      // No certificate outlives the authority.
      notAfter: new Date(Math.min(expires, certificate.notAfter.getTime())),
      signingAlgorithm: algorithm,
      publicKey,
      signingKey,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth, ExtendedKeyUsage.serverAuth]),
        new SubjectAlternativeNameExtension([
          { type: 'url', value: partyUri(party) },
          ...hosts.map((host) => ({
            type: /^[\d.]+$|:/.test(host) ? ('ip' as const) : ('dns' as const),
            value: host,
          })),
        ]),
      ],
    });
  return {
    identity,
    issue: async (party, hosts = []) => {
      const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as CryptoKeyPair;
      const leaf = await sign(party, keys.publicKey, hosts, now() + 365 * DAY);
      return { certificate: leaf.toString('pem'), key: await exportKey(keys.privateKey) };
    },
    certify: async (party, publicKey, expires, hosts = []) => {
      let key: CryptoKey;
      try {
        key = (await webcrypto.subtle.importKey('spki', copyBytes(publicKey), algorithm, true, [
          'verify',
        ])) as CryptoKey;
      } catch (cause) {
        throw new MillraceError('E_INPUT', 'not a P-256 key', { cause });
      }
      return (await sign(party, key, hosts, expires)).toString('pem');
    },
  };
}

function serialNumber(): string {
  const bytes = systemRandom(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40; // positive, and full length
  return toHex(bytes);
}

async function exportKey(key: CryptoKey): Promise<Bytes> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  const pem = Buffer.from(`-----BEGIN PRIVATE KEY-----\n${lines.join('\n')}\n-----END PRIVATE KEY-----\n`);
  der.fill(0);
  return new Uint8Array(pem);
}

async function importKey(pem: Uint8Array): Promise<CryptoKey> {
  const body = Buffer.from(pem)
    .toString('latin1')
    .replace(/-----[A-Z ]+-----/g, '');
  return webcrypto.subtle.importKey('pkcs8', Buffer.from(body, 'base64'), algorithm, false, [
    'sign',
  ]) as Promise<CryptoKey>;
}
