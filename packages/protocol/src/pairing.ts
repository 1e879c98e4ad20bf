import { createHash, createHmac, scrypt, timingSafeEqual } from 'node:crypto';
import {
  type Bytes,
  bytesOf,
  bytesUpTo,
  concatBytes,
  copyBytes,
  decodeCbor,
  encodeCbor,
  equalBytes,
  fromHex,
  hexOf,
  MillraceError,
  parse,
  type RandomSource,
  toHex,
  utf8,
} from '@millrace/base';
import {
  keyId,
  keyName,
  type MachineKey,
  parseSign1,
  type Signer,
  sign1,
  verifySign1,
  verifySignature,
} from '@millrace/identity';
import { z } from 'zod';
import { requireRole, verifyCredential } from './credentials.ts';
import { type Addresses, addressSchema, CLOCK_SKEW_MS, type Directory } from './directory.ts';
import { common } from './document-fields.ts';
import { machineSchema, tokenSchema } from './documents.ts';
import { TLS_KEY_BYTES } from './people-documents.ts';
import { requireCounting } from './revoked.ts';

// Pairing (spec/pairing.md): an agent that trusts nobody yet and an operator prove to each other, with a code that only
// they know, that their messages were not changed on the way. The cloud, which carries the messages, does not know it.

/** An agent shows a code for this long, ms. */
export const PAIRING_CODE_MS = 15 * 60_000;
/** The administrator admits a paired machine within this time, ms. */
export const ADMIT_WITHIN_MS = 30 * 86_400_000;
/** Maximum length of an offer or an answer, bytes. */
export const MAX_PAIRING_MESSAGE = 26_000;

/** Crockford's base 32: no I, L, O and U. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const CODE_CHARACTERS = 16;
const CODE_BYTES = 10;

/**
 * Values derived from a code of 80 random bits. The cloud sees the id and two tags of HMAC-SHA-256. To find the code, it
 * would have to compute scrypt for some 2^79 codes within `PAIRING_CODE_MS`.
 */
export interface PairingKeys {
  /** Names the pairing at control, 32 hexadecimal digits. */
  readonly id: string;
  readonly agent: Bytes;
  readonly operator: Bytes;
}

/** A new code, such as "7Q2M-VX4C-9T1K-HZ8D". */
export function newPairingCode(random: RandomSource): string {
  let bits = BigInt(`0x${toHex(random(CODE_BYTES))}`);
  let code = '';
  for (let i = 0; i < CODE_CHARACTERS; i++) {
    code = `${ALPHABET[Number(bits & 31n)]}${code}`;
    bits >>= 5n;
  }
  return code.replace(/(.{4})(?=.)/g, '$1-');
}

/** @throws {MillraceError} E_INPUT for a text that is not a code */
export async function pairingKeys(code: string): Promise<PairingKeys> {
  const plain = code.toUpperCase().replace(/[\s-]/g, '').replace(/[IL]/g, '1').replaceAll('O', '0');
  if (plain.length !== CODE_CHARACTERS || [...plain].some((character) => !ALPHABET.includes(character)))
    throw new MillraceError('E_INPUT', 'the pairing code has 16 letters and digits, as the agent shows it');
  const derived = await new Promise<Buffer>((resolve, reject) => {
    scrypt(plain, 'millrace/v1/pairing', 80, { N: 16_384, r: 8, p: 1 }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });
  const part = (from: number, to: number) => copyBytes(derived.subarray(from, to));
  return { id: toHex(part(0, 16)), agent: part(16, 48), operator: part(48, 80) };
}

const tagged = z.strictObject({ body: bytesUpTo(MAX_PAIRING_MESSAGE), tag: bytesOf(32) });

function seal(key: Uint8Array, bound: Uint8Array, body: Bytes): Bytes {
  const tag = copyBytes(createHmac('sha256', key).update(bound).update(body).digest());
  return encodeCbor({ body, tag });
}

/** @throws {MillraceError} E_INPUT, E_AUTH if somebody without the code made or changed the message */
function open(key: Uint8Array, bound: Uint8Array, message: Uint8Array, what: string): Bytes {
  const { body, tag } = parse(tagged, decodeCbor(message, what), what);
  if (!timingSafeEqual(createHmac('sha256', key).update(bound).update(body).digest(), tag))
    throw new MillraceError('E_AUTH', `${what}: somebody who does not know the pairing code has changed it`);
  return copyBytes(body);
}

const offerSchema = z.strictObject({
  version: z.literal(1),
  /** The machine's identity key, P-256. It signs the offer. */
  publicKey: bytesOf(65),
  /** SubjectPublicKeyInfo of the agent's TLS key. */
  tlsKey: bytesOf(TLS_KEY_BYTES),
  /** The code counts until this time, ms since 1970. */
  expires: common.expires,
  /** The token that holds the identity key. Absent if the key is in a file. */
  token: tokenSchema.optional(),
});
export type PairingOffer = z.output<typeof offerSchema>;

const OFFER = utf8('millrace/v1/pairing-offer/');
const NOTHING = new Uint8Array();

/** The agent's keys, authenticated with the code and signed by the machine's key. */
export async function makeOffer(
  keys: Pick<PairingKeys, 'agent'>,
  machineKey: MachineKey,
  { tlsKey, expires }: { readonly tlsKey: Bytes; readonly expires: number },
): Promise<Bytes> {
  const publicKey = copyBytes(machineKey.publicKey);
  const token = machineKey.token?.identity;
  const payload = encodeCbor({ version: 1, publicKey, tlsKey, expires, ...(token && { token }) } as never);
  return seal(keys.agent, NOTHING, await sign1(machineKey, keyId(machineKey.publicKey), payload, OFFER));
}

/** @throws {MillraceError} E_AUTH, E_EXPIRED, E_SIGNATURE, E_INPUT */
export function openOffer(keys: Pick<PairingKeys, 'agent'>, offer: Uint8Array, now: number): PairingOffer {
  const message = parseSign1(open(keys.agent, NOTHING, offer, 'offer of the agent'));
  const body = parse(offerSchema, decodeCbor(message.payload, 'offer of the agent'), 'offer of the agent');
  verifySign1(message, 'ES256', body.publicKey, OFFER, verifySignature);
  if (now > body.expires + CLOCK_SKEW_MS)
    throw new MillraceError('E_EXPIRED', 'the pairing code has expired: enter the one that the agent shows now');
  return body;
}

/** Settings of a driver, as JSON. */
const driverJson = z
  .string()
  .max(2_048)
  .refine((text) => isObject(text), { error: 'expected a JSON object' });

const pairingSchema = z.strictObject({
  type: z.literal('machine.pair'),
  ...common,
  /** Name of the machine at the site. */
  name: z.string().min(1).max(64),
  machine: machineSchema,
  tlsKey: bytesOf(TLS_KEY_BYTES),
  material: z.string().min(1).max(64),
  driver: driverJson,
});
/** What an operator signs about a machine and its keys. The administrator registers the machine because of it. */
export type Pairing = z.output<typeof pairingSchema>;

const pairingContext = (installation: string) =>
  concatBytes(utf8('millrace/v1/machine-pairing/'), fromHex(installation));

/** Signed by an operator, or by the administrator. */
export function signPairing(signer: Signer, installation: string, pairing: Pairing): Promise<Bytes> {
  const payload = encodeCbor(parse(pairingSchema, pairing, 'pairing') as never);
  return sign1(signer, keyId(signer.publicKey), payload, pairingContext(installation));
}

export interface VerifiedPairing {
  readonly pairing: Pairing;
  /** Who entered the code. */
  readonly by: { readonly key: string; readonly name: string; readonly organisation?: string };
}

type Named = Pick<Directory, 'installation' | 'adminKey' | 'revocations'>;

/**
 * @param credential of the operator; empty if the administrator signed
 * @throws {MillraceError} E_SIGNATURE, E_AUTH, E_INPUT, E_FORBIDDEN if the signer is no operator, E_EXPIRED, E_REVOKED
 */
export async function verifyPairing(
  { document, credential }: { readonly document: Uint8Array; readonly credential: Uint8Array },
  directory: Named,
  now: number,
): Promise<VerifiedPairing> {
  const admin = fromHex(directory.adminKey);
  const message = parseSign1(document);
  const operator = credential.length === 0 ? undefined : await verifyCredential(credential, directory);
  const publicKey = operator?.publicKey ?? admin;
  if (!equalBytes(message.keyId, keyId(publicKey)))
    throw new MillraceError('E_AUTH', 'the pairing is signed by another key than that of its operator');
  verifySign1(message, 'ES256K', publicKey, pairingContext(directory.installation), verifySignature);
  const pairing = parse(pairingSchema, decodeCbor(message.payload, 'pairing'), 'pairing');
  const key = keyName(publicKey);
  if (operator !== undefined) {
    requireRole(operator, 'operator');
    if (pairing.issued > operator.until + CLOCK_SKEW_MS)
      throw new MillraceError('E_EXPIRED', 'the key of the operator had expired');
  }
  requireCounting(directory, key, document);
  if (now > pairing.expires + CLOCK_SKEW_MS)
    throw new MillraceError('E_EXPIRED', 'the pairing has expired: pair the machine again');
  if (keyName(pairing.machine.publicKey) !== pairing.machine.machine)
    throw new MillraceError('E_MACHINE_UNKNOWN', 'the machine’s name does not match its key');
  const organisation = operator?.member?.organisationName;
  const by = { key, name: operator?.name ?? 'the administrator', ...(organisation && { organisation }) };
  return { pairing, by };
}

const answerSchema = z.strictObject({
  version: z.literal(1),
  /** The cloud that the operator uses: what the agent will trust. */
  installation: hexOf(16),
  adminKey: hexOf(33),
  /** Minimum number of the directory. */
  directory: z.number().int().min(1),
  distribution: addressSchema,
  document: bytesUpTo(8_192),
  credential: bytesUpTo(16_384),
});
export type PairingAnswer = z.output<typeof answerSchema>;

/** Binds an answer to the offer that the operator has seen. */
const boundTo = (offer: Uint8Array): Uint8Array => createHash('sha256').update(offer).digest();

/** The operator's answer: which cloud to trust, and the signed pairing. */
export function makeAnswer(
  keys: Pick<PairingKeys, 'operator'>,
  offer: Uint8Array,
  answer: Omit<PairingAnswer, 'version' | 'distribution'> & { readonly distribution: Addresses['distribution'] },
): Bytes {
  const body = parse(answerSchema, { version: 1, ...answer }, 'answer of the operator');
  return seal(keys.operator, boundTo(offer), encodeCbor(body as never));
}

/** For the agent. @throws {MillraceError} E_INPUT, E_AUTH */
export function openAnswer(keys: Pick<PairingKeys, 'operator'>, offer: Uint8Array, answer: Uint8Array): PairingAnswer {
  return readBody(open(keys.operator, boundTo(offer), answer, 'answer of the operator'));
}

/** Without the code: for the administrator, who verifies the document in it. @throws {MillraceError} E_INPUT */
export function readAnswer(answer: Uint8Array): PairingAnswer {
  const what = 'answer of the operator';
  return readBody(copyBytes(parse(tagged, decodeCbor(answer, what), what).body));
}

const readBody = (body: Bytes): PairingAnswer =>
  parse(answerSchema, decodeCbor(body, 'answer of the operator'), 'answer of the operator');

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}
