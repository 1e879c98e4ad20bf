import { createCipheriv, hkdfSync } from 'node:crypto';
import {
  type Bytes,
  concatBytes,
  copyBytes,
  decodeCbor,
  encodeCbor,
  equalBytes,
  systemRandom,
  u32be,
  utf8,
} from '@millrace/base';
import { decodeRecord, encodeRecord } from '@millrace/stores/parts';
import { encodeLoosely, mutateValue } from '@millrace/testkit/fuzz/mutate';
import type { Random } from '@millrace/testkit/fuzz/random';
import type { Target } from '@millrace/testkit/fuzz/target';
import {
  CONTENT_BYTES,
  createKeyWrapper,
  decodeMessage,
  encodeCore,
  encodeManifest,
  encodeMessage,
  openPrivatePart,
  openSegment,
  PackageFile,
  Packed,
  type PrivatePart,
  packageEnd,
  packageStart,
  readCore,
  readManifest,
  SEGMENT_BYTES,
  sealPackageKeys,
  sealPrivatePart,
  sealSegment,
} from '@millrace/vault';
import {
  decodeHolding,
  decodePoints,
  decodeState,
  embed,
  emptyHolding,
  encodeHolding,
  encodePoints,
  encodeState,
  extract,
  MAINTAIN,
} from '@millrace/vault/parts';

const fixed = (byte: number, length: number): Bytes => new Uint8Array(length).fill(byte);

/** Cells, manifests, and the messages between keys and segments nodes about them. */
export async function vaultTargets(): Promise<Target[]> {
  return [
    ...messageTargets(),
    manifestTarget(),
    coreTarget(),
    packageTarget(),
    ...(await sealedTargets()),
    ...recordTargets(),
    pointsTarget(),
  ];
}

function messageTargets(): Target[] {
  const index = fixed(1, 20);
  const blank = {
    items: Packed.blank(MAINTAIN.items, 3),
    masked: Packed.blank(MAINTAIN.masked, 1),
    points: Packed.blank(MAINTAIN.points, 2),
    forget: Packed.blank(MAINTAIN.forget, 5),
  };
  const cell = { index, key: fixed(2, 32), epoch: 7 };
  const messages = [
    { type: 'want' as const, design: fixed(3, 16), from: 2, count: 9 },
    {
      type: 'store' as const,
      design: fixed(3, 16),
      generation: 1,
      from: 0,
      decoys: false,
      cells: [cell, cell],
      seeds: [],
      labels: [],
    },
    {
      type: 'store' as const,
      design: fixed(3, 16),
      generation: 1,
      from: 0,
      decoys: true,
      cells: [cell],
      seeds: [fixed(4, 32)],
      labels: [fixed(5, 32)],
    },
    { type: 'stored' as const, design: fixed(3, 16), generation: 1, from: 0, count: 1 },
    { type: 'refused' as const, design: fixed(3, 16), from: 0, code: 'E_SEGMENT', reason: 'r' },
    { type: 'maintain' as const, to: 2, lane: 0, number: 1, fence: 0, ...blank },
    {
      type: 'maintained' as const,
      to: 2,
      lane: 0,
      number: 1,
      fence: 0,
      staged: 1,
      absent: 0,
      missing: [index],
      damaged: [],
      work: 5,
    },
    {
      type: 'check' as const,
      check: fixed(6, 16),
      part: 0,
      last: true,
      deep: false,
      oldest: 1,
      after: index,
      upto: index,
      cells: [{ index, epoch: 1, flags: 0 }],
    },
    {
      type: 'check' as const,
      check: fixed(6, 16),
      part: 0,
      last: true,
      deep: true,
      oldest: 1,
      after: index,
      upto: index,
      cells: [{ index, epoch: 1, flags: 0, key: fixed(1, 32), hash: fixed(2, 32) }],
    },
    { type: 'checked' as const, check: fixed(6, 16), part: 0, missing: [index], extra: [index], damaged: [] },
  ];
  const samples = messages.map(encodeMessage);
  const values = samples.map((sample) => decodeCbor(sample, 'x'));
  const written = (result: unknown) => encodeMessage(result as ReturnType<typeof decodeMessage>);
  return [
    {
      name: 'vault message',
      samples,
      make: (random) => encodeLoosely(mutateValue(random.pick(values), random)),
      cost: 'cheap',
      codes: ['E_INPUT'],
      decode: decodeMessage,
      // Deep-check records without a hash are decoded without their other fields. The result must round-trip.
      accepts: (result, input) =>
        equalBytes(written(result), input) || equalBytes(written(decodeMessage(written(result))), written(result)),
    },
  ];
}

function manifestTarget(): Target {
  const manifest = {
    owner: fixed(6, 33),
    custody: 'owner' as const,
    kind: 'gcode' as const,
    size: 2 * CONTENT_BYTES + 5,
    segments: 3,
    nonce: fixed(1, 16),
    hashes: fixed(2, 96),
    times: Uint32Array.of(1, 2, 3),
    contentMac: fixed(3, 32),
    private: fixed(4, 100),
  };
  const samples = [
    encodeManifest(manifest),
    encodeManifest({
      ...manifest,
      size: 9,
      segments: 1,
      hashes: fixed(2, 32),
      times: Uint32Array.of(1),
      maintenance: 'key-homomorphic',
      private: undefined,
    }),
  ];
  const values = samples.map((sample) => decodeCbor(sample, 'x'));
  return {
    name: 'manifest',
    samples,
    make: (random) => encodeLoosely(mutateValue(random.pick(values), random)),
    cost: 'cheap',
    codes: ['E_INPUT', 'E_TOO_LARGE'],
    decode: readManifest,
    accepts: (result, input) => equalBytes(encodeManifest(result as ReturnType<typeof readManifest>), input),
  };
}

/** The form of a job package. Its signature and bytes are verified afterwards. */
function packageTarget(): Target {
  const core = encodeCore({
    owner: fixed(6, 33),
    custody: 'owner',
    kind: 'gcode',
    size: 5,
    segments: 1,
    nonce: fixed(1, 16),
    hashRoot: fixed(2, 32),
    timesHash: fixed(3, 32),
    contentMac: fixed(5, 32),
  });
  const end = packageEnd({ licence: fixed(7, 40), signer: fixed(8, 40), core });
  const keys = sealPackageKeys(fixed(1, 32), fixed(2, 32), fixed(3, 32));
  return {
    name: 'job package',
    samples: [concatBytes(packageStart(), fixed(9, SEGMENT_BYTES), fixed(4, 32), keys, end)],
    cost: 'middling',
    codes: ['E_PACKAGE'],
    decode: (input) => PackageFile.open({ size: input.length, read: async (at, n) => input.slice(at, at + n) }),
    accepts: 'any',
  };
}

function coreTarget(): Target {
  const core = {
    owner: fixed(6, 33),
    custody: 'keys' as const,
    kind: 'gcode' as const,
    size: 2 * CONTENT_BYTES + 5,
    segments: 3,
    nonce: fixed(1, 16),
    hashRoot: fixed(2, 32),
    timesHash: fixed(3, 32),
    privateHash: fixed(4, 32),
    contentMac: fixed(5, 32),
    maintenance: 'delta' as const,
  };
  const { privateHash: _, maintenance: __, ...least } = core;
  const values = [core, least];
  return {
    name: 'design core',
    samples: values.map(encodeCore),
    make: (random) => encodeLoosely(mutateValue(random.pick(values), random)),
    cost: 'cheap',
    codes: ['E_INPUT', 'E_TOO_LARGE'],
    decode: readCore,
    accepts: (result, input) => {
      const { designId: _, coreHash: __, ...read } = result as ReturnType<typeof readCore>;
      return equalBytes(encodeCore(read), input);
    },
  };
}

async function sealedTargets(): Promise<Target[]> {
  const secret = fixed(9, 32);
  const place = { designNonce: fixed(1, 16), number: 3, final: true };
  const sealed = sealSegment({ ...place, cek: secret, designSecret: secret, content: fixed(7, CONTENT_BYTES) });
  const part: PrivatePart = {
    name: 'part.gcode',
    nonce: fixed(1, 16),
    designSecret: fixed(8, 32),
    box: [0, 0, 0, 1, 1, 1],
    material: { name: 'PLA', milligrams: 5 },
    time: { model: 1_000, slicer: 1_100 },
    sliced: { slicer: 'PrusaSlicer 2.5', profile: 'p', profileHash: fixed(1, 32) },
    thumbnail: fixed(2, 100),
  };
  const privatePart = sealPrivatePart(secret, part, systemRandom);
  const wrapper = createKeyWrapper(secret);
  const context = utf8('context');
  const wrapped = await wrapper.wrap(fixed(5, 32), context);
  return [
    {
      name: 'sealed segment',
      samples: [sealed],
      cost: 'middling',
      codes: ['E_SEAL'],
      decode: (input) => openSegment({ ...place, cek: secret, designSecret: secret, sealed: input }),
      accepts: 'samples',
    },
    {
      name: 'private part',
      samples: [privatePart],
      cost: 'middling',
      codes: ['E_SEAL'],
      decode: (input) => openPrivatePart(secret, input),
      accepts: 'samples',
    },
    {
      name: 'private part of an owner who says what they like',
      samples: [privatePart],
      make: (random) => sealAgain(secret, encodeLoosely(mutateValue({ v: 1, ...part }, random)), random),
      cost: 'middling',
      codes: ['E_SEAL', 'E_INPUT'],
      decode: (input) => openPrivatePart(secret, input),
      accepts: 'any',
    },
    {
      name: 'wrapped key',
      samples: [wrapped],
      cost: 'cheap',
      codes: ['E_SEAL'],
      decode: (input) => wrapper.unwrap(input, context),
      accepts: 'samples',
    },
  ];
}

/** Like `sealPrivatePart`, for any bytes and any length prefix. */
function sealAgain(secret: Uint8Array, cbor: Uint8Array, random: Random): Bytes {
  const plain = new Uint8Array(Math.ceil((4 + cbor.length) / 4_096) * 4_096);
  plain.set(u32be(random.below(4) === 0 ? random.u32() : cbor.length));
  plain.set(cbor, 4);
  const head = concatBytes(Uint8Array.of(1), fixed(3, 16));
  const key = new Uint8Array(hkdfSync('sha256', secret, head.subarray(1), 'millrace/v1/private-part', 32));
  const cipher = createCipheriv('aes-256-gcm', key, new Uint8Array(12));
  cipher.setAAD(head);
  return concatBytes(head, cipher.update(plain), cipher.final(), cipher.getAuthTag());
}

function recordTargets(): Target[] {
  const index = fixed(1, 20);
  const state = {
    v: 1 as const,
    epoch: 3,
    density: 50,
    minimumDecoys: 0,
    sweep: {
      to: 4,
      lanes: [{ number: 2, fence: 0, underWay: true, planned: 7, prev: index, mark: index, from: index, upTo: index }],
    },
  };
  const holding = {
    ...emptyHolding(fixed(2, 16), systemRandom),
    mode: 'delta' as const,
    seed: fixed(1, 61),
    retire: 3,
    retireTo: 4,
  };
  const stored = (name: string, value: object, encode: () => Bytes, decode: (input: Bytes) => unknown): Target => ({
    name,
    samples: [encode()],
    make: (random) => encodeLoosely(mutateValue(value, random)),
    cost: 'cheap',
    codes: ['E_STORE'],
    decode,
    accepts: (result, input) => equalBytes(encodeCbor(result as never), input),
  });
  return [
    stored('state of the vault', state, () => encodeState(state), decodeState),
    stored('holding', holding, () => encodeHolding(holding), decodeHolding),
    {
      name: 'entry of the cell index',
      samples: [encodeRecord({ value: fixed(1, 40) }), encodeRecord({ slot: 7, head: fixed(1, 6) })],
      cost: 'cheap',
      codes: ['E_STORE'],
      decode: decodeRecord,
      accepts: (result, input) => equalBytes(encodeRecord(result as ReturnType<typeof decodeRecord>), input),
    },
  ];
}

function pointsTarget(): Target {
  const sealed = copyBytes(fixed(8, 16_386));
  const body = encodePoints(embed(sealed));
  return {
    name: 'cell of points',
    samples: [body],
    cost: 'very dear',
    codes: ['E_CELL_DAMAGED', 'E_SEAL'],
    decode: (input) => {
      const points = decodePoints(input);
      return extract(points);
    },
    // Without the key's layer any point of the curve decodes to bytes, which the inner seal then verifies.
    accepts: 'any',
  };
}
