import { createHash } from 'node:crypto';
import { type Bytes, equalBytes, fromHex, systemRandom, toHex } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CONTENT_BYTES,
  contentMac,
  openSegment,
  type PrepareOptions,
  prepareDesign,
  readManifest,
  SEGMENT_BYTES,
  sealSegment,
  segmentHash,
} from '../src/index.ts';
import { pattern, readVectors, type Short, short } from './vectors.ts';

async function* chunks(content: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  for (let offset = 0, i = 0; offset < content.length; i++) {
    const size = sizes[i % sizes.length] ?? 1;
    yield content.slice(offset, offset + size);
    offset += size;
  }
}

const facts: Pick<PrepareOptions, 'describe' | 'kind' | 'owner'> = {
  kind: 'binary',
  owner: new Uint8Array(33).fill(3),
  describe: ({ segments }) => ({ times: new Array(segments).fill(7) }),
};

async function prepared(content: Uint8Array, sizes: readonly number[] = [1000]) {
  const sealed: Bytes[] = [];
  const design = await prepareDesign(chunks(content, sizes), {
    ...facts,
    sink: (n, bytes) => {
      sealed[n] = bytes;
    },
  });
  return { ...design, sealed, fields: readManifest(design.manifest) };
}

function opened(design: Awaited<ReturnType<typeof prepared>>): Uint8Array {
  const { fields, ceks, designSecret, sealed } = design;
  const pieces = sealed.map((bytes, number) =>
    openSegment({
      cek: ceks.subarray(32 * number, 32 * number + 32),
      designSecret,
      sealed: bytes,
      designNonce: fields.nonce,
      number,
      final: number === fields.segments - 1,
    }),
  );
  return Buffer.concat(pieces).subarray(0, fields.size);
}

describe('preparing a design', () => {
  it('round-trips, whatever its size and the chunks it comes in', async () => {
    const sizes = fc.oneof(
      fc.integer({ min: 1, max: 3 * CONTENT_BYTES + 9 }),
      fc.constantFrom(1, CONTENT_BYTES - 1, CONTENT_BYTES, CONTENT_BYTES + 1, 2 * CONTENT_BYTES),
    );
    await fc.assert(
      fc.asyncProperty(
        sizes,
        fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 4 }),
        async (size, pieces) => {
          const content = systemRandom(size);
          const design = await prepared(content, pieces);
          expect(design.segments).toBe(Math.ceil(size / CONTENT_BYTES));
          expect(design.ceks.length).toBe(32 * design.segments);
          expect(equalBytes(opened(design), content)).toBe(true);
          for (const [n, bytes] of design.sealed.entries()) {
            expect(bytes.length).toBe(SEGMENT_BYTES);
            expect(toHex(segmentHash(design.fields, n))).toBe(createHash('sha256').update(bytes).digest('hex'));
          }
          const mac = contentMac({ cek: design.ceks.subarray(0, 32), designSecret: design.designSecret });
          mac.update(content);
          expect(mac.digest()).toEqual(design.fields.contentMac);
          expect(design.fields.designId).toBe(design.designId);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('is different each time, and no sealed segment reveals the design', async () => {
    const content = new Uint8Array(2 * CONTENT_BYTES).fill(65);
    const [a, b] = [await prepared(content), await prepared(content)];
    expect(a.designId).not.toBe(b.designId);
    expect(a.sealed[0]).not.toEqual(b.sealed[0]);
    expect(a.sealed[0]).not.toEqual(a.sealed[1]);
    for (const bytes of a.sealed) expect(Buffer.from(bytes).includes('AAAA')).toBe(false);
    expect(Buffer.from(a.manifest).includes('AAAA')).toBe(false);
  });

  it('rejects an empty design and wrong times, and stops when aborted or when the sink fails', async () => {
    const sink = () => {};
    await expect(prepareDesign(chunks(new Uint8Array(), [1]), { ...facts, sink })).rejects.toMatchObject({
      code: 'E_DESIGN_EMPTY',
    });
    const describeWrong = () => ({ times: [1, 2, 3] });
    await expect(
      prepareDesign(chunks(new Uint8Array(5), [5]), { ...facts, sink, describe: describeWrong }),
    ).rejects.toMatchObject({ code: 'E_INPUT' });
    await expect(
      prepareDesign(chunks(new Uint8Array(5), [5]), { ...facts, sink, signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ name: 'AbortError' });
    await expect(
      prepareDesign(chunks(new Uint8Array(5), [5]), { ...facts, sink: () => Promise.reject(new Error('disk')) }),
    ).rejects.toThrow('disk');
  });

  it('reads no further ahead than the sink accepts', async () => {
    let produced = 0;
    let taken = 0;
    async function* source() {
      for (; produced < 50; produced++) yield new Uint8Array(CONTENT_BYTES);
    }
    await prepareDesign(source(), {
      ...facts,
      sink: async () => {
        taken++;
        expect(produced - taken).toBeLessThanOrEqual(2);
        await new Promise((resolve) => setImmediate(resolve));
      },
    });
    expect(taken).toBe(50);
  });
});

describe('a sealed segment', () => {
  const cek = systemRandom(32);
  const designSecret = systemRandom(32);
  const place = { designNonce: systemRandom(16), number: 3, final: false };
  const content = systemRandom(CONTENT_BYTES);
  const sealed = sealSegment({ ...place, cek, designSecret, content });

  it('opens with its keys and place', () => {
    expect(openSegment({ ...place, cek, designSecret, sealed })).toEqual(content);
  });

  it('does not open altered, at another place, as the last one, truncated, or without either half of its key', () => {
    const other = sealed.slice();
    other[5] = (other[5] ?? 0) ^ 1;
    const tag = sealed.slice();
    tag[SEGMENT_BYTES - 1] = (tag[SEGMENT_BYTES - 1] ?? 0) ^ 1;
    const wrong = [
      { ...place, cek, sealed: other },
      { ...place, cek, sealed: tag },
      { ...place, cek, sealed: sealed.subarray(0, SEGMENT_BYTES - 1) },
      { ...place, cek, sealed, number: 4 },
      { ...place, cek, sealed, final: true },
      { ...place, cek, sealed, designNonce: systemRandom(16) },
      { ...place, cek: systemRandom(32), sealed },
      { ...place, cek, sealed, designSecret: new Uint8Array(32) },
      { ...place, cek, sealed, designSecret: systemRandom(32) },
      { ...place, cek, sealed, designSecret: cek },
    ];
    for (const one of wrong)
      expect(() => openSegment({ designSecret, ...one })).toThrow(expect.objectContaining({ code: 'E_SEAL' }));
  });
});

interface SegmentVectors {
  readonly cases: readonly {
    size: number;
    nonce: string;
    designSecret: string;
    contentMac: string;
    segments: readonly { cek: string; sealed: Short }[];
  }[];
}

describe('vectors/vault/segments.json', () => {
  it.each(readVectors<SegmentVectors>('segments.json').cases)(
    '$size bytes',
    ({ size, nonce, designSecret: secret, contentMac: mac, segments }) => {
      const designSecret = fromHex(secret);
      const content = pattern(size);
      for (const [number, { cek, sealed }] of segments.entries()) {
        const piece = new Uint8Array(CONTENT_BYTES);
        piece.set(content.subarray(number * CONTENT_BYTES, (number + 1) * CONTENT_BYTES));
        const place = { designNonce: fromHex(nonce), number, final: number === segments.length - 1 };
        const ours = sealSegment({ ...place, cek: fromHex(cek), designSecret, content: piece });
        expect(short(ours)).toEqual(sealed);
      }
      const ours = contentMac({ cek: fromHex(segments[0]?.cek ?? ''), designSecret });
      ours.update(content);
      expect(toHex(ours.digest())).toBe(mac);
    },
  );
});
