import { type Bytes, copyBytes, MillraceError, Mutex, systemRandom, utf8, wipe } from '@millrace/base';
import { isP256Point, sha256 } from '@millrace/base/crypto';
import type { MachineKey, TokenIdentity } from '../keys.ts';
import { verifySignature } from '../verify.ts';
import { type Cryptoki, ck, type Handle, type LoadCryptoki } from './binding.ts';
import { readCounter, steadyCounter } from './counter.ts';
import {
  attempt,
  attributeOf,
  closeSession,
  findTwo,
  openTokenSession,
  type TokenPlace,
  type TokenSession,
  tokenError,
} from './session.ts';

/** DER of the object identifier of P-256 (RFC 5480, 2.1.1.1). */
const P256 = Uint8Array.of(0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07);
const POINT_BYTES = 65;
const needed = [ck.CKM_EC_KEY_PAIR_GEN, ck.CKM_ECDSA, ck.CKM_ECDH1_DERIVE];
const CHECK = utf8('millrace/v1/token-check');

/** A key in a token, and the public key that it must have. */
export interface TokenKeyPlace extends TokenPlace {
  /** CKA_ID, 16 bytes. */
  readonly id: Uint8Array;
  /** Uncompressed point, 65 bytes. */
  readonly publicKey: Uint8Array;
  /** `since` of the token's counter, if the machine uses it. */
  readonly counter?: number | undefined;
}

/** The parts that tests replace. */
export interface TokenModules {
  readonly load?: LoadCryptoki;
}

/**
 * Creates a P-256 key pair in a token: sensitive and not extractable, to sign and to agree.
 * @param name CKA_LABEL, for people
 * @param attended as for `openTokenSession`
 * @returns `counter`, if the token has one and no other key: machines that share a token would count for each other
 * @throws {MillraceError} E_CONFIG, E_HSM, E_PIN
 */
export async function createTokenKey(
  place: TokenPlace,
  name: string,
  { attended, load }: TokenModules & { readonly attended: boolean },
): Promise<{
  readonly id: Bytes;
  readonly publicKey: Bytes;
  readonly token: TokenIdentity;
  readonly counter: number | undefined;
}> {
  const opened = await openTokenSession(place, { attended, load });
  const { cryptoki, session, slot, token } = opened;
  try {
    const offered = attempt('the token lists no mechanisms', () => cryptoki.C_GetMechanismList(slot));
    if (needed.some((mechanism) => !offered.includes(mechanism)))
      throw tokenError(`the token ${place.label} has no ECDSA and ECDH: machines need both with P-256`);
    const counter = hasKeys(opened) ? undefined : steadyCounter(opened);
    const id = systemRandom(16);
    const common = [
      { type: ck.CKA_TOKEN, value: true },
      { type: ck.CKA_ID, value: Buffer.from(id) },
      { type: ck.CKA_LABEL, value: name },
    ];
    const { publicKey } = await cryptoki
      .C_GenerateKeyPairAsync(
        session,
        { mechanism: ck.CKM_EC_KEY_PAIR_GEN },
        [
          ...common,
          { type: ck.CKA_EC_PARAMS, value: Buffer.from(P256) },
          { type: ck.CKA_PRIVATE, value: false },
          { type: ck.CKA_VERIFY, value: true },
        ],
        [
          ...common,
          { type: ck.CKA_PRIVATE, value: true },
          { type: ck.CKA_SENSITIVE, value: true },
          { type: ck.CKA_EXTRACTABLE, value: false },
          { type: ck.CKA_SIGN, value: true },
          { type: ck.CKA_DERIVE, value: true },
        ],
      )
      .catch((cause: unknown) => {
        throw tokenError('the token makes no key', cause);
      });
    return { id, publicKey: readPoint(cryptoki, session, publicKey), token, counter };
  } finally {
    closeSession(cryptoki, session);
  }
}

/**
 * Opens a machine's key in a token. The token must sign with the expected key, now and with every signature.
 * @throws {MillraceError} E_CONFIG, E_HSM (missing, exchanged, without the key), E_PIN
 */
export async function openTokenKey(place: TokenKeyPlace, modules: TokenModules = {}): Promise<MachineKey> {
  const opened = await openTokenSession(place, { attended: false, load: modules.load });
  try {
    const key = new TokenKey(opened, findPrivateKey(opened, place.id), place);
    await key.token.check();
    return key;
  } catch (error) {
    closeSession(opened.cryptoki, opened.session);
    throw error;
  }
}

class TokenKey implements MachineKey {
  readonly algorithm = 'ES256';
  readonly storage = 'pkcs11';
  readonly publicKey: Bytes;
  readonly token: NonNullable<MachineKey['token']>;
  readonly #cryptoki: Cryptoki;
  readonly #session: Handle;
  readonly #privateKey: Handle;
  /** A session runs one operation at a time. */
  readonly #calls = new Mutex();
  readonly #lost = new AbortController();

  constructor(opened: TokenSession, privateKey: Handle, { publicKey, counter: since }: TokenKeyPlace) {
    this.#cryptoki = opened.cryptoki;
    this.#session = opened.session;
    this.#privateKey = privateKey;
    this.publicKey = copyBytes(publicKey);
    const read = () => this.#use(async () => readCounter(opened));
    this.token = {
      identity: opened.token,
      lost: this.#lost.signal,
      check: async () => void (await this.sign(CHECK)),
      counter: since === undefined ? undefined : { since, read },
    };
  }

  sign(message: Uint8Array): Promise<Bytes> {
    return this.#use(async () => {
      const digest = Buffer.from(sha256(message));
      const raw = Buffer.alloc(64);
      this.#cryptoki.C_SignInit(this.#session, { mechanism: ck.CKM_ECDSA }, this.#privateKey);
      const signature = copyBytes(await this.#cryptoki.C_SignAsync(this.#session, digest, raw));
      if (!verifySignature('ES256', this.publicKey, message, signature))
        throw tokenError('the token has another key than the machine’s: put the right one back');
      return signature;
    });
  }

  async agree(peer: Uint8Array): Promise<Bytes> {
    // Tokens differ in what they do with a point that is not on the curve.
    const point = requirePoint(peer);
    return this.#use(async () => {
      const shared = await this.#cryptoki.C_DeriveKeyAsync(
        this.#session,
        {
          mechanism: ck.CKM_ECDH1_DERIVE,
          parameter: { type: ck.CK_PARAMS_EC_DH, kdf: ck.CKD_NULL, publicData: point },
        },
        this.#privateKey,
        [
          { type: ck.CKA_CLASS, value: ck.CKO_SECRET_KEY },
          { type: ck.CKA_KEY_TYPE, value: ck.CKK_GENERIC_SECRET },
          { type: ck.CKA_TOKEN, value: false },
          { type: ck.CKA_SENSITIVE, value: false },
          { type: ck.CKA_EXTRACTABLE, value: true },
          { type: ck.CKA_VALUE_LEN, value: 32 },
        ],
      );
      const value = attributeOf(this.#cryptoki, this.#session, shared, ck.CKA_VALUE);
      try {
        this.#cryptoki.C_DestroyObject(this.#session, shared);
        if (value.length !== 32) throw tokenError('the token agrees on no secret');
        return copyBytes(value);
      } finally {
        wipe(value);
      }
    });
  }

  close(): void {
    closeSession(this.#cryptoki, this.#session);
  }

  /** Any failure ends the use of the token: a session survives neither a removal nor an exchange. */
  #use<T>(operation: () => Promise<T>): Promise<T> {
    return this.#calls.run(async () => {
      this.#lost.signal.throwIfAborted();
      try {
        return await operation();
      } catch (cause) {
        const lost = cause instanceof MillraceError ? cause : tokenError('the token does not answer', cause);
        this.#lost.abort(lost);
        throw lost;
      }
    });
  }
}

function findPrivateKey(opened: TokenSession, id: Uint8Array): Handle {
  const [key, ...others] = attempt('the token lists no keys', () =>
    findTwo(opened, [
      { type: ck.CKA_CLASS, value: ck.CKO_PRIVATE_KEY },
      { type: ck.CKA_KEY_TYPE, value: ck.CKK_EC },
      { type: ck.CKA_ID, value: Buffer.from(id) },
    ]),
  );
  if (key === undefined || others.length > 0) throw tokenError('the token does not have the machine’s key');
  return key;
}

function hasKeys(opened: TokenSession): boolean {
  const template = [{ type: ck.CKA_CLASS, value: ck.CKO_PRIVATE_KEY }];
  return attempt('the token lists no keys', () => findTwo(opened, template)).length > 0;
}

/** CKA_EC_POINT is a DER OCTET STRING; some tokens give the bare point. */
function readPoint(cryptoki: Cryptoki, session: Handle, publicKey: Handle): Bytes {
  const value = attempt('the token gives no public key', () =>
    attributeOf(cryptoki, session, publicKey, ck.CKA_EC_POINT),
  );
  const wrapped = value.length === POINT_BYTES + 2 && value[0] === 0x04 && value[1] === POINT_BYTES;
  return copyBytes(requirePoint(wrapped ? value.subarray(2) : value));
}

/** @throws {MillraceError} E_INPUT */
function requirePoint(point: Uint8Array): Buffer {
  if (point[0] !== 0x04 || !isP256Point(point)) throw new MillraceError('E_INPUT', 'not a point on P-256');
  return Buffer.from(point);
}
