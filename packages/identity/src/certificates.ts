import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  X509Certificate as NodeCertificate,
} from 'node:crypto';
import type { Bytes } from '@millrace/base';

/** Certificate and key for TLS, in PEM. The key is ASCII in a buffer, so that it can be wiped. */
export interface TlsIdentity {
  readonly certificate: string;
  readonly key: Bytes;
}

/** A certificate authority: see `createAuthority`. */
export interface Authority {
  readonly identity: TlsIdentity;
  issue(party: Party, hosts?: readonly string[]): Promise<TlsIdentity>;
  /**
   * A certificate, PEM, for a key created by another party.
   * @param publicKey SubjectPublicKeyInfo
   * @throws {MillraceError} E_INPUT unless it is a P-256 key
   */
  certify(party: Party, publicKey: Uint8Array, expires: number, hosts?: readonly string[]): Promise<string>;
}

/** A new P-256 key for TLS, PEM (PKCS #8). Create it where it is used. */
export function createTlsKey(): Bytes {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return new Uint8Array(Buffer.from(privateKey.export({ format: 'pem', type: 'pkcs8' })));
}

/** The public key (SubjectPublicKeyInfo) of a private key or a certificate in PEM, for `Authority.certify`. */
export function tlsPublicKey(pem: Uint8Array): Bytes {
  return new Uint8Array(createPublicKey(Buffer.from(pem)).export({ format: 'der', type: 'spki' }));
}

type Role = 'control' | 'segments' | 'keys' | 'distribution';

/** The other end of a connection: a node by role and id, a user or machine by key name. */
export type Party =
  | { readonly [R in Role]: { readonly role: R; readonly id: string } }[Role]
  | { readonly role: 'user'; readonly name: string }
  | { readonly role: 'machine'; readonly name: string };

const URI =
  /^millrace:(control|segments|keys|distribution):([a-z][a-z0-9-]{0,31})$|^millrace:(user|machine):([0-9a-f]{32})$/;

/** The name of a party in its certificate. */
export function partyUri(party: Party): string {
  return `millrace:${party.role}:${'name' in party ? party.name : party.id}`;
}

/** The party that a certificate names; undefined if it names none. TLS checks the chain. */
export function partyOf(certificate: NodeCertificate): Party | undefined {
  for (const name of (certificate.subjectAltName ?? '').split(', ')) {
    const match = name.startsWith('URI:') ? URI.exec(name.slice(4)) : null;
    if (match?.[1] && match[2]) return { role: match[1] as Role, id: match[2] };
    if (match?.[3] && match[4]) return { role: match[3] as 'user', name: match[4] };
  }
  return undefined;
}

/** SHA-256 of the DER certificate, 64 hexadecimal digits, for pinning. */
export function fingerprint(certificatePem: string): string {
  return new NodeCertificate(certificatePem).fingerprint256.replaceAll(':', '').toLowerCase();
}

/** Whether the key belongs to the certificate. */
export function isTlsPair({ certificate, key }: TlsIdentity): boolean {
  try {
    return new NodeCertificate(certificate).checkPrivateKey(createPrivateKey(Buffer.from(key)));
  } catch {
    return false;
  }
}

/** Expiry of a certificate, ms since 1970. */
export function expiryOf(certificatePem: string): number {
  return Date.parse(new NodeCertificate(certificatePem).validTo);
}

/** The certificates in a PEM text, one PEM each. */
export function certificatesOf(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? [];
}

/** Whether the authority's key signed the certificate, whatever the name of its issuer. */
export function isSignedBy(certificate: NodeCertificate, authorityPem: string): boolean {
  return certificate.verify(new NodeCertificate(authorityPem).publicKey);
}

/** Whether `authorityPem` signed the certificate. */
export function isIssuedBy(certificatePem: string, authorityPem: string): boolean {
  const [certificate, authority] = [new NodeCertificate(certificatePem), new NodeCertificate(authorityPem)];
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
}
