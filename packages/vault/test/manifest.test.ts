import { decodeCbor, encodeCbor, fromHex, toHex } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { designIdOf, encodeManifest, readManifest } from '../src/index.ts';
import { readVectors } from './vectors.ts';

const { cases } = readVectors<{ cases: readonly { size: number; manifest: string; designId: string }[] }>(
  'manifest.json',
);
const good = fromHex(cases[3]?.manifest ?? '');

function changed(change: (fields: Record<string, unknown>) => void): Uint8Array {
  const fields = decodeCbor(good, 'test') as Record<string, unknown>;
  change(fields);
  return encodeCbor(fields as never);
}

describe('the manifest', () => {
  it.each(cases)('vectors/vault/manifest.json: $size bytes', ({ size, manifest, designId }) => {
    const fields = readManifest(fromHex(manifest));
    expect(fields).toMatchObject({
      designId,
      size,
      kind: 'gcode',
    });
    expect(fields.times[0]).toBe(12345);
    expect(fields.private?.length).toBe(size === 1 ? undefined : 1_000);
    expect(toHex(encodeManifest(fields))).toBe(manifest);
  });

  it('refuses what is not exactly a manifest', () => {
    const wrong: Uint8Array[] = [
      new Uint8Array(),
      good.subarray(1),
      new Uint8Array([...good, 0]),
      changed((fields) => {
        fields.extra = 1;
      }),
      changed((fields) => {
        fields.v = 2;
      }),
      changed((fields) => {
        fields.size = 0;
      }),
      changed((fields) => {
        fields.size = 1;
      }),
      changed((fields) => {
        fields.segments = 4;
      }),
      changed((fields) => {
        fields.hashes = new Uint8Array(95);
      }),
      changed((fields) => {
        fields.times = new Uint8Array(13);
      }),
      changed((fields) => {
        fields.nonce = new Uint8Array(15);
      }),
      changed((fields) => {
        fields.name = 'what the owner calls it';
      }),
      changed((fields) => {
        fields.private = new Uint8Array();
      }),
      changed((fields) => {
        fields.private = new Uint8Array(65_537);
      }),
      changed((fields) => {
        fields.kind = 'stl';
      }),
      changed((fields) => {
        fields.private = 'in the clear';
      }),
      changed((fields) => {
        delete fields.contentMac;
      }),
    ];
    for (const bytes of wrong) expect(() => readManifest(bytes)).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
  });

  it('names a design by every bit of it', () => {
    const other = changed((fields) => {
      fields.private = Uint8Array.of(1);
    });
    expect(designIdOf(other)).not.toBe(designIdOf(good));
  });

  it('refuses to make one that readers would refuse', () => {
    expect(() => encodeManifest({ ...readManifest(good), private: new Uint8Array() })).toThrow(
      expect.objectContaining({ code: 'E_INPUT' }),
    );
  });
});
