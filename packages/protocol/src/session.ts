import { type Bytes, bytesOf, copyBytes, decodeCbor, encodeCbor, hkdf, parse, utf8, wipe } from '@millrace/base';
import {
  createHpkeRecipient,
  createHpkeSender,
  generateP256Key,
  type HpkeRecipient,
  type HpkeSender,
  type MachineKey,
  type P256Key,
} from '@millrace/identity';
import { z } from 'zod';
import { sha256 } from './opening.ts';
import { openBySome } from './sealed-keys.ts';
import { matrixInUseSchema } from './shapes.ts';

export const sessionParametersSchema = z.strictObject({
  object: z.string(),
  design: z.string(),
  designNonce: bytesOf(16),
  /** Number of segments of the design, and first segment of this stream. */
  segments: z.number().int().positive(),
  from: z.number().int().nonnegative(),
  /** Size of the design, bytes. */
  size: z.number().int().positive(),
  /** Maximum number of segments ahead of the last acknowledged one. */
  window: z.number().int().positive(),
  ...matrixInUseSchema.shape,
  hints: z.enum(['dense', 'sparse']),
  /** Chaff hints for every 100 data hints; sparse hints only. Each frame has a masked mark for the chaff hints. */
  chaffPercent: z.number().int().min(1).max(100).optional(),
  /** Outer layer of the cells: AES-256-CTR, or points of secp256k1 (vault.md, 3). */
  layer: z.enum(['ctr', 'points']),
});
export type StreamParameters = z.output<typeof sessionParametersSchema>;

/**
 * Minimum number of segments that the machine has consumed before it reports. Later segments are in its buffer, which
 * holds at most a window.
 */
export const leastTaken = ({ from, window }: StreamParameters): number => Math.max(0, from - window);

/**
 * Upper bound of the segments that may have been sent when `acked` were acknowledged: a window ahead, but at most half
 * of a design before its first acknowledgement. A machine that restarts from 0 has therefore never had the whole
 * design.
 */
export function mostGiven({ segments, window }: Pick<StreamParameters, 'segments' | 'window'>, acked: number): number {
  if (acked > 0) return Math.min(segments, acked + window);
  return Math.min(window, Math.max(1, segments >> 1));
}

/**
 * Number of segments whose places and keys are sent in one step: a quarter of the window. The machine then always has
 * three quarters of a window ahead, and a window needs few messages.
 */
export const sliceStep = (window: number): number => Math.max(1, window >> 2);

/** Maximum length of a design's core, bytes. */
const MAX_CORE_BYTES = 1_024;

const setupSchema = z.strictObject({
  licenceSecret: bytesOf(32),
  parameters: sessionParametersSchema,
  /** The owner's commitment (vault.md, 2). The machine compares it with the licence. */
  core: z.instanceof(Uint8Array).refine(({ length }) => length <= MAX_CORE_BYTES, 'too long'),
  /** Only for designs in the custody of the keys node. */
  designSecret: bytesOf(32).optional(),
});

/** Starts a session; sent in clear. `sealed` can be opened only with the machine's ephemeral and static keys. */
export const sessionOfferSchema = z.strictObject({
  session: bytesOf(16),
  ephemeral: bytesOf(65),
  enc: bytesOf(65),
  sealed: z.instanceof(Uint8Array),
});
export type SessionOffer = z.output<typeof sessionOfferSchema>;

/**
 * The transcript as each end knows it: the hash of the opening (every signed document) and of the offer's public parts.
 */
export interface SessionBinding {
  readonly openingHash: Uint8Array;
  readonly session: Uint8Array;
  readonly licence: string;
  readonly serial: string;
}

export interface KeysSide {
  readonly offer: SessionOffer;
  /** Seed of the ratchets at both ends. The caller wipes it. */
  readonly seed: Bytes;
  readonly context: HpkeSender;
}

export interface MachineSide {
  readonly parameters: StreamParameters;
  readonly core: Bytes;
  /** The caller wipes it. */
  readonly designSecret: Bytes | undefined;
  readonly seed: Bytes;
  readonly context: HpkeRecipient;
}

/**
 * Keys node: derives the session and seals its parameters to the machine (spec/protocol.md, 6; RFC 9180,
 * mode_auth_psk).
 */
export async function offerSession(options: {
  binding: SessionBinding;
  machineStatic: Uint8Array;
  machineEphemeral: Uint8Array;
  /** The keys node's identity key, which is in the machine's directory. */
  sender: P256Key;
  licenceSecret: Uint8Array;
  parameters: StreamParameters;
  core: Uint8Array;
  designSecret: Uint8Array | undefined;
}): Promise<KeysSide> {
  const { binding, parameters, licenceSecret, core, designSecret, sender } = options;
  const own = generateP256Key();
  const staticShared = await own.agree(options.machineStatic);
  const ephemeralShared = await own.agree(options.machineEphemeral);
  try {
    const transcript = transcriptOf(binding, own.publicKey);
    const psk = preShared(binding, staticShared);
    const context = await createHpkeSender(options.machineEphemeral, transcript, psk, sender);
    const setup = encodeCbor({ licenceSecret, parameters, core, ...(designSecret && { designSecret }) });
    const sealed = await context.seal(setup, transcript);
    wipe(setup);
    return {
      offer: { session: copyBytes(binding.session), ephemeral: own.publicKey, enc: context.enc, sealed },
      seed: seedOf(binding, transcript, ephemeralShared, staticShared, licenceSecret, parameters),
      context,
    };
  } finally {
    own.close();
    wipe(staticShared, ephemeralShared);
  }
}

/** Machine: accepts the offer of `offerSession`. @throws {MillraceError} E_SEAL, E_INPUT */
export async function acceptSession(options: {
  binding: SessionBinding;
  offer: SessionOffer;
  machineKey: MachineKey;
  ephemeral: P256Key;
  /** The identity key or keys of the keys node in the directory. Offers from other senders are refused. */
  sender: Uint8Array | readonly Uint8Array[];
}): Promise<MachineSide> {
  const { binding, offer, machineKey, ephemeral } = options;
  const staticShared = await machineKey.agree(offer.ephemeral);
  const ephemeralShared = await ephemeral.agree(offer.ephemeral);
  let setup: z.output<typeof setupSchema> | undefined;
  try {
    const transcript = transcriptOf(binding, offer.ephemeral);
    const psk = preShared(binding, staticShared);
    const { context, plain } = await openBySome([options.sender].flat(), async (sender) => {
      const context = await createHpkeRecipient(ephemeral, offer.enc, transcript, psk, sender);
      return { context, plain: await context.open(offer.sealed, transcript) };
    });
    setup = parse(setupSchema, decodeCbor(plain, 'session set-up'), 'session set-up');
    wipe(plain);
    const seed = seedOf(binding, transcript, ephemeralShared, staticShared, setup.licenceSecret, setup.parameters);
    const { parameters, core, designSecret } = setup;
    return { parameters, core: copyBytes(core), designSecret: designSecret && copyBytes(designSecret), seed, context };
  } finally {
    wipe(staticShared, ephemeralShared, setup?.licenceSecret, setup?.designSecret);
  }
}

/** Secret for the fresh Diffie-Hellman mix at a revision. Both ends wipe it after mixing. */
export function mixSecret(session: Uint8Array, revision: bigint, shared: Uint8Array): Bytes {
  return hkdf([shared], session, utf8(`millrace/v1/mix/${revision}`));
}

/** Keys of the reverse stream: its ratchet's seed and the AEAD key of the telemetry, from the session's seed. */
export function reverseKeys(seed: Uint8Array): { seed: Bytes; telemetry: Bytes } {
  return {
    seed: hkdf([seed], new Uint8Array(), utf8('millrace/v1/reverse-stream')),
    telemetry: hkdf([seed], new Uint8Array(), utf8('millrace/v1/telemetry')),
  };
}

/** The small matrix of the reverse stream: its table costs 256 hashes (docs/adr/0015). */
export function reverseMatrix({ suite }: Pick<StreamParameters, 'suite'>) {
  return { suite, order: 8, hints: 'dense' } as const;
}

/** Seed of the forward ratchet. It differs from the session's seed, so that no key has two uses. */
export function forwardSeed(seed: Uint8Array): Bytes {
  return hkdf([seed], new Uint8Array(), utf8('millrace/v1/forward-stream'));
}

function transcriptOf(binding: SessionBinding, ephemeral: Uint8Array): Bytes {
  return sha256(utf8('millrace/v1/session'), binding.openingHash, binding.session, ephemeral);
}

function preShared(binding: SessionBinding, staticShared: Uint8Array) {
  return { id: binding.session, key: hkdf([staticShared], binding.session, utf8('millrace/v1/static')) };
}

function seedOf(
  binding: SessionBinding,
  transcript: Uint8Array,
  ephemeralShared: Uint8Array,
  staticShared: Uint8Array,
  licenceSecret: Uint8Array,
  parameters: StreamParameters,
): Bytes {
  const { object, design, suite, order, hints } = parameters;
  const { serial, licence } = binding;
  const info = encodeCbor({ suite, order, hints, serial, licence, object, design });
  return hkdf([ephemeralShared, staticShared, licenceSecret], transcript, info);
}
