import type { Authority, TlsIdentity } from './certificates.ts';

// The library that creates certificates is loaded on demand: it takes 15 MB, which programs that only check certificates,
// such as a machine's agent, should not hold.

/** The installation's own certificate authority. Certificates of parties last a year, its own ten. */
export async function createAuthority(name: string, now: number): Promise<Authority> {
  const x509 = await import('./x509-authority.ts');
  return x509.createAuthority(name, now);
}

/** @throws {MillraceError} E_CONFIG when the files hold no certificate authority. */
export async function openAuthority(identity: TlsIdentity, now: () => number): Promise<Authority> {
  const x509 = await import('./x509-authority.ts');
  return x509.openAuthority(identity, now);
}
