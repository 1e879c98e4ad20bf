import { controlRoutes, createApiClient, type TokenView } from '@millrace/api';
import { type Bytes, fromBase64, MillraceError, toHex, wipe } from '@millrace/base';
import { keyName, type MemorySigner } from '@millrace/identity';
import {
  formatToken,
  type HttpClient,
  onlyKey,
  type TokenScope,
  tokenHash,
  verifyTransaction,
} from '@millrace/protocol';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

const DAY_MS = 86_400_000;

export interface NewToken {
  readonly token: string;
  /** The token. It is shown once; no node knows it. */
  readonly text: string;
  readonly until: number;
}

/** Creates an API token. Its secret is created here; control gets a hash that the person signs. */
export async function createToken(
  session: Session,
  { name, scopes, days }: { readonly name: string; readonly scopes: readonly TokenScope[]; readonly days: number },
): Promise<NewToken> {
  const id = session.random(16);
  const secret = session.random(32);
  const text = formatToken(toHex(id), secret);
  wipe(secret);
  const until = session.clock.now() + Math.ceil(days * DAY_MS);
  const body = { type: 'token.create' as const, name, scopes: [...scopes], hash: tokenHash(text), until };
  const { id: token, bytes } = await signNew(session, body, id);
  await session.api.submit(bytes);
  return { token, text, until };
}

export async function revokeToken(session: Session, token: string): Promise<void> {
  const { bytes } = await signNew(session, { type: 'token.revoke', token });
  await session.api.submit(bytes);
}

/**
 * Verifies that the user's own key signed the creation of a token that control lists.
 * @throws {MillraceError} E_AUTH, E_SIGNATURE: control lists a token that this key did not create
 */
export async function verifyOwnToken({ signer, directory }: Session, view: TokenView): Promise<void> {
  const { publicKey } = signer;
  const document = fromBase64(view.document);
  const { body } = await verifyTransaction(document, directory.installation, onlyKey(publicKey), 'any time');
  const said = [view.token, view.name, view.until, ...view.scopes].join(' ');
  const { id } = body;
  const signed = body.type === 'token.create' ? [toHex(id), body.name, body.until, ...body.scopes].join(' ') : '';
  if (view.key !== keyName(publicKey) || said !== signed)
    throw new MillraceError('E_AUTH', `control lists a token that this key did not create: ${view.token}`);
}

/** The API token with which the client calls. @throws {MillraceError} E_TOKEN, E_REVOKED, E_RATE */
export function currentToken(control: HttpClient): Promise<TokenView & { readonly publicKey: string }> {
  return createApiClient(controlRoutes, { transport: control }).tokens.current();
}

/** The signer of a session with an API token: it knows its person's public key, and refuses to sign. */
export function refusingSigner(publicKey: Bytes): MemorySigner {
  const refuse = () => new MillraceError('E_KEY_NEEDED', 'this needs a user’s key, and an API token has none');
  return {
    algorithm: 'ES256K',
    publicKey,
    sign: async () => {
      throw refuse();
    },
    exportSecret: () => {
      throw refuse();
    },
    close: () => undefined,
  };
}
