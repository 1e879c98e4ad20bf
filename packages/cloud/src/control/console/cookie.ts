import type { FastifyRequest } from 'fastify';
import { SIGN_IN_MS } from './company-sign-ins.ts';
import { WHOLE_MS } from './sessions.ts';

/** A cookie that holds a secret. Scripts cannot read it, and other sites cannot make browsers send it. */
export interface SecretCookie {
  /** The secret in the request. */
  read(request: Pick<FastifyRequest, 'headers'>): string | undefined;
  /** Value of Set-Cookie. */
  set(secret: string): string;
  clear(): string;
}

export const sessionCookie = (origin: string): SecretCookie => secretCookie(origin, '', WHOLE_MS);

/** Binds a company sign-in to the browser that began it. */
export const signInCookie = (origin: string): SecretCookie => secretCookie(origin, '-sign-in', SIGN_IN_MS);

/**
 * With TLS the name has the prefix `__Host-`, so that no other host and no unprotected page can set it. Without TLS the
 * browser is on this computer; cookies of localhost are shared by all ports, so the name has the port.
 */
function secretCookie(origin: string, suffix: string, lifeMs: number): SecretCookie {
  const { protocol, port } = new URL(origin);
  const secure = protocol === 'https:';
  const name = secure ? `__Host-millrace${suffix}` : `millrace-${port}${suffix}`;
  const attributes = `Path=/; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`;
  return {
    read: ({ headers }) => {
      const all = (headers.cookie ?? '').split(';').map((pair) => pair.trim().split('='));
      const values = all.filter(([key]) => key === name).map(([, value = '']) => value);
      // Two cookies of one name: somebody has set another one for a path.
      return values.length === 1 ? values[0] : undefined;
    },
    set: (secret) => `${name}=${secret}; Max-Age=${lifeMs / 1000}; ${attributes}`,
    clear: () => `${name}=; Max-Age=0; ${attributes}`,
  };
}
