import type { Authority, TlsIdentity } from './certificates.ts';

// The library that creates certificates is loaded on demand: it needs 15 MB, which programs that only check
// certificates, such as a machine's agent, should not use.

/**
 * Creates the installation's certificate authority. Certificates of parties are valid for one year, the authority's for
 * ten.
 */
export async function createAuthority(name: string, now: number): Promise<Authority> {
  const x509 = await import('./x509-authority.ts');
  return x509.createAuthority(name, now);
}

/** @throws {MillraceError} E_CONFIG if the files do not contain a certificate authority */
export async function openAuthority(identity: TlsIdentity, now: () => number): Promise<Authority> {
  const x509 = await import('./x509-authority.ts');
  return x509.openAuthority(identity, now);
}
