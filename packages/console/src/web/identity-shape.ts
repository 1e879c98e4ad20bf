import { z } from 'zod';

// The key of this browser, wrapped, and what it belongs to. It is one more device of its person.

const address = z.strictObject({ host: z.string(), port: z.number() });

export const identitySchema = z.strictObject({
  version: z.literal(1),
  /** Trust anchor, from the invitation. */
  installation: z.string(),
  adminKey: z.string(),
  /** Of the nodes, from the invitation. Browsers that enrolled earlier have none. */
  addresses: z.strictObject({ control: address, distribution: address }).optional(),
  /** Key name, 32 hexadecimal digits. */
  key: z.string(),
  /** The person, as the administrator's key proves. */
  name: z.string(),
  /** Text of the company sign-in by which the key was enrolled, and by which it is renewed. */
  company: z.string().optional(),
  /** Base64: which passkey to ask for. */
  passkey: z.string().optional(),
  wrapped: z.strictObject({
    kind: z.enum(['passkey', 'passphrase']),
    salt: z.string(),
    iv: z.string(),
    sealed: z.string(),
  }),
});
export type Identity = z.output<typeof identitySchema>;

/** What a wrapped key is bound to. */
export const aboutOf = ({ installation, key }: Pick<Identity, 'installation' | 'key'>) => `${installation}/${key}`;
