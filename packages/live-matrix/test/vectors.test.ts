import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { copyBytes, fromHex, toHex } from '@millrace/base';
import * as second from '@millrace/testkit/live-matrix/second';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { generatorColumns } from '../src/code/generator.ts';
import { layoutBlocks } from '../src/code/layout.ts';
import { parityOf } from '../src/code/parity.ts';
import { availableEngines, createEngine } from '../src/engines/choose.ts';
import { readValues } from '../src/frame/symbols.ts';
import { createReceiver } from '../src/node-receiver.ts';
import { createSender } from '../src/node-sender.ts';
import { Ratchet } from '../src/ratchet.ts';
import { deriveSeed } from '../src/seed.ts';

const folder = new URL('../../../vectors/live-matrix/', import.meta.url);

function read<T>(name: string, schema: z.ZodType<T>): T {
  return schema.parse(JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8')));
}

const shake = (text: string, length: number) =>
  copyBytes(createHash('shake256', { outputLength: length }).update(text).digest());
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const suiteName = z.enum(['keccak256', 'turboshake128']);
const hintMode = z.enum(['dense', 'sparse']);
const order = z.union([z.literal(8), z.literal(16), z.literal(24)]);

const hashVectors = read(
  'hash',
  z.strictObject({
    about: z.string(),
    hashes: z.array(
      z.strictObject({ suite: suiteName, g: z.string(), t: z.string(), k: z.string(), lane0: z.string() }),
    ),
    ranges: z.array(
      z.strictObject({
        suite: suiteName,
        t: z.string(),
        k: z.string(),
        first: z.number(),
        count: z.number(),
        sha256OfLowWords: z.string(),
      }),
    ),
  }),
);

describe('hash.json', () => {
  it('matches the second implementation', () => {
    for (const { suite, g, t, k, lane0 } of hashVectors.hashes) {
      expect(toHex(second.hash(suite, BigInt(g), BigInt(t), fromHex(k)))).toBe(lane0);
    }
  });

  it.each(availableEngines().map((engine) => [engine.name, engine] as const))('matches engine %s', (_, engine) => {
    expect(hashVectors.hashes.length).toBeGreaterThan(50);
    for (const { suite, g, t, k, lane0 } of hashVectors.hashes) {
      const out = new Uint32Array(2);
      const low = Number(BigInt(g) & 0xffffffffn);
      const key = { suite, revision: BigInt(t), key: fromHex(k) };
      engine.hashBatch(key, Number(BigInt(g) >> 32n), Uint32Array.of(low), out);
      expect(toHex(new Uint8Array(out.buffer))).toBe(lane0);
    }
    for (const { suite, t, k, first, count, sha256OfLowWords } of hashVectors.ranges) {
      const out = new Uint32Array(count);
      engine.hashRange({ suite, revision: BigInt(t), key: fromHex(k) }, first, out);
      expect(sha256(new Uint8Array(out.buffer))).toBe(sha256OfLowWords);
    }
  });
});

describe('ratchet.json', () => {
  const vectors = read(
    'ratchet',
    z.strictObject({
      about: z.string(),
      seed: z.strictObject({
        transcriptHash: z.string(),
        secrets: z.array(z.string()),
        suite: suiteName,
        serial: z.string(),
        licence: z.string(),
        object: z.string(),
        playbookHash: z.string(),
        result: z.string(),
      }),
      firstSecret: z.string(),
      freshSecretBefore64: z.string(),
      revisions: z.array(z.record(z.enum(['revision', 'table', 'chaff', 'mac', 'parity']), z.string())),
    }),
  );

  it('matches the seed', () => {
    const { transcriptHash, secrets, playbookHash, result, ...names } = vectors.seed;
    const inputs = {
      ...names,
      transcriptHash: fromHex(transcriptHash),
      secrets: secrets.map(fromHex),
      playbookHash: fromHex(playbookHash),
    };
    expect(toHex(deriveSeed(inputs))).toBe(result);
    expect(toHex(deriveSeed({ ...inputs, serial: 'MP-004', licence: '2licence-1' }))).not.toBe(result);
  });

  it('matches the ratchet and the second implementation', () => {
    const ratchet = new Ratchet(fromHex(vectors.firstSecret), 62n);
    let secret: Uint8Array = fromHex(vectors.firstSecret);
    for (const [i, expected] of vectors.revisions.entries()) {
      const fresh = ratchet.needsMix ? fromHex(vectors.freshSecretBefore64) : undefined;
      if (i > 0) {
        if (fresh !== undefined) ratchet.mix(fresh);
        ratchet.advance();
        secret = second.nextSecret(secret, fresh);
      }
      const { table, chaff, mac, parity } = ratchet.keys;
      const keys = { table: toHex(table), chaff: toHex(chaff), mac: toHex(mac), parity: toHex(parity) };
      expect({ revision: String(ratchet.revision), ...keys }).toEqual(expected);
      const again = Object.entries(second.revisionKeys(secret)).map(([name, key]) => [name, toHex(key)]);
      expect(Object.fromEntries(again)).toEqual(keys);
    }
    expect(vectors.revisions.map(({ revision }) => revision)).toEqual(['62', '63', '64', '65']);
  });

  it('matches a look-ahead, which does not advance the ratchet', () => {
    const fresh = fromHex(vectors.freshSecretBefore64);
    const ratchet = new Ratchet(fromHex(vectors.firstSecret), 62n);
    const ahead = (at: number) =>
      ratchet.withMacKeyAt(BigInt(at), (revision) => (revision === 64n ? fresh : undefined), toHex);
    const macs = vectors.revisions.map(({ mac }) => mac);
    expect([63, 64, 65].map((at) => ahead(at))).toEqual(macs.slice(1));
    expect(() => ratchet.withMacKeyAt(64n, () => undefined, toHex)).toThrow('needs a fresh shared secret');
    expect(ratchet.revision).toBe(62n);
    ratchet.advance();
    ratchet.mix(fresh);
    expect([64, 65].map((at) => ratchet.withMacKeyAt(BigInt(at), () => undefined, toHex))).toEqual(macs.slice(2));
    ratchet.advance();
    expect(toHex(ratchet.keys.mac)).toBe(macs[2]);
  });
});

describe('parity.json', () => {
  const vectors = read(
    'parity',
    z.strictObject({
      about: z.string(),
      columns: z.record(z.string(), z.string()),
      generatorBytes: z.number(),
      generatorSha256: z.string(),
      parities: z.array(
        z.strictObject({
          mode: hintMode,
          order,
          hints: z.number(),
          blockHints: z.number(),
          blocks: z.array(z.strictObject({ hints: z.number(), parityBytes: z.number() })),
          cellShake256Of: z.string(),
          parity: z.string(),
        }),
      ),
    }),
  );

  it('matches the generator', () => {
    const columns = generatorColumns();
    for (const bytes of [new Uint8Array(columns.buffer), second.generator]) {
      expect(bytes.length).toBe(vectors.generatorBytes);
      expect(sha256(bytes)).toBe(vectors.generatorSha256);
      for (const [at, column] of Object.entries(vectors.columns)) {
        expect(toHex(bytes.subarray(64 * Number(at), 64 * Number(at) + 64))).toBe(column);
      }
    }
  });

  it.each(vectors.parities.map((one) => [`${one.mode} ${one.hints} hints`, one] as const))('matches %s', (_, one) => {
    const cell = shake(one.cellShake256Of, (one.hints * one.order) / 8);
    const blocks = layoutBlocks(one.mode, one.hints, one.blockHints);
    expect(blocks.map(({ hints, parityBytes }) => ({ hints, parityBytes }))).toEqual(one.blocks);
    expect(second.blocksOf(one.mode, one.hints, one.blockHints)).toEqual(one.blocks);
    expect(toHex(parityOf(readValues(cell, one.order / 8), one.order, blocks))).toBe(one.parity);
  });
});

describe('frames.json', () => {
  const { frames } = read(
    'frames',
    z.strictObject({
      about: z.string(),
      frames: z.array(
        z.strictObject({
          name: z.string(),
          parameters: z.strictObject({
            suite: suiteName,
            order,
            hints: hintMode,
            blockHints: z.number().exactOptional(),
            chaffPercent: z.number().exactOptional(),
          }),
          sessionId: z.string(),
          firstRevision: z.string(),
          firstSecret: z.string(),
          revision: z.string(),
          frameNumber: z.number(),
          cellShake256Of: z.string(),
          cellBytes: z.number(),
          frameBytes: z.number(),
          frameSha256: z.string(),
          cell: z.string().optional(),
          frame: z.string().optional(),
        }),
      ),
    }),
  );
  const cases = frames.map((one) => [one.name, one] as const);

  /** The ratchet's secret at the vector's revision, computed by the second implementation. */
  function secretOf(one: (typeof frames)[number]): Uint8Array {
    let secret: Uint8Array = fromHex(one.firstSecret);
    for (let r = BigInt(one.firstRevision); r < BigInt(one.revision); r++) secret = second.nextSecret(secret);
    return secret;
  }

  it.each(cases)('%s: every engine encodes it, byte for byte', (_, one) => {
    const cell = shake(one.cellShake256Of, one.cellBytes);
    if (one.cell !== undefined) expect(toHex(cell)).toBe(one.cell);
    for (const engine of availableEngines()) {
      const sender = createSender({
        parameters: one.parameters,
        sessionId: fromHex(one.sessionId),
        seed: fromHex(one.firstSecret),
        firstRevision: BigInt(one.firstRevision),
        engine,
      });
      while (sender.revision < BigInt(one.revision)) sender.advance();
      const frame = sender.encode(one.frameNumber, cell);
      expect(frame.length).toBe(one.frameBytes);
      expect(sha256(frame)).toBe(one.frameSha256);
      if (one.frame !== undefined) expect(toHex(frame)).toBe(one.frame);
    }
  });

  it.each(cases)('%s: the second implementation encodes it', (_, one) => {
    const cell = shake(one.cellShake256Of, one.cellBytes);
    const revision = BigInt(one.revision);
    const frame = second.encode(one.parameters, fromHex(one.sessionId), revision, secretOf(one), one.frameNumber, cell);
    expect(sha256(frame)).toBe(one.frameSha256);
  });

  it.each(cases.filter(([, one]) => one.parameters.order <= 16))('%s: decodes to its cell', async (_, one) => {
    const receiver = await createReceiver({
      parameters: one.parameters,
      sessionId: fromHex(one.sessionId),
      seed: fromHex(one.firstSecret),
      firstRevision: BigInt(one.firstRevision),
    });
    while (receiver.ready < BigInt(one.revision)) await receiver.prepareNext();
    const { cell } = await receiver.decode(fromHex(one.frame ?? ''));
    expect(toHex(cell)).toBe(one.cell);
    await receiver.close();
  });

  it.each(['dense16 short', 'dense8', 'dense8 turboshake'])('%s: the second implementation decodes it', (name) => {
    const one = frames.find((each) => each.name === name);
    if (one === undefined) throw new Error(`frames.json lacks ${name}`);
    const frame = fromHex(one.frame ?? '');
    expect(toHex(second.decodeDense(one.parameters, secretOf(one), frame) ?? new Uint8Array())).toBe(one.cell);
  });

  it('includes the TypeScript engine', () => {
    expect(availableEngines().map(({ name }) => name)).toContain(createEngine('ts').name);
  });
});
