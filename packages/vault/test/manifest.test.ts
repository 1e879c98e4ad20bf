import { decodeCbor, encodeCbor, fromHex, toHex } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { encodeManifest, readCore, readManifest } from '../src/index.ts';
import { readVectors } from './vectors.ts';

const { cases } = readVectors<{
  cases: readonly { size: number; manifest: string; coreHash: string; designId: string }[];
}>('manifest.json');
const good = fromHex(cases[3]?.manifest ?? '');

type Fields = Record<string, unknown>;

function changed(change: (fields: Fields) => void, bytes: Uint8Array = good): Uint8Array {
  const fields = decodeCbor(bytes, 'test') as Fields;
  change(fields);
  return encodeCbor(fields as never);
}

/** A manifest whose core was changed. */
const otherwise = (change: (core: Fields) => void): Uint8Array =>
  changed((fields) => {
    fields.core = changed(change, fields.core as Uint8Array);
  });

const set = (field: string, value: unknown) => (fields: Fields) => {
  fields[field] = value;
};

describe('the manifest', () => {
  it.each(cases)('vectors/vault/manifest.json: $size bytes', ({ size, manifest, coreHash, designId }) => {
    const fields = readManifest(fromHex(manifest));
    expect(fields).toMatchObject({ designId, size, kind: 'gcode', custody: size === 16_370 ? 'keys' : 'owner' });
    expect(toHex(fields.coreHash)).toBe(coreHash);
    expect(fields.times[0]).toBe(12345);
    expect(fields.private?.length).toBe(size === 1 ? undefined : 1_000);
    expect(toHex(encodeManifest(fields))).toBe(manifest);
    expect(readCore(fields.core)).toMatchObject({ designId, size });
  });

  it('accepts unknown kinds of designs: only clients and machines interpret them', () => {
    const { core } = readManifest(good);
    expect(readCore(changed(set('kind', 'steps'), core)).kind).toBe('steps');
  });

  it.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array()],
    ['cut at the front', good.subarray(1)],
    ['something behind it', new Uint8Array([...good, 0])],
    ['an unknown field', changed(set('extra', 1))],
    ['another version', changed(set('v', 1))],
    ['hashes of another length', changed(set('hashes', new Uint8Array(95)))],
    ['other hashes than the core commits to', changed(set('hashes', new Uint8Array(96)))],
    ['times of another length', changed(set('times', new Uint8Array(13)))],
    ['other times than the core commits to', changed(set('times', new Uint8Array(12)))],
    ['an empty private part', changed(set('private', new Uint8Array()))],
    ['a private part that is too long', changed(set('private', new Uint8Array(65_537)))],
    ['a private part that is text', changed(set('private', 'in the clear'))],
    ['another private part than the core commits to', changed(set('private', new Uint8Array(1_000)))],
    ['no private part where the core commits to one', changed((fields) => delete fields.private)],
    ['a private part that the core does not commit to', otherwise((core) => delete core.privateHash)],
    ['an unknown field in the core', otherwise(set('name', 'what the owner calls it'))],
    ['a size of nothing', otherwise(set('size', 0))],
    ['a size that does not fit', otherwise(set('size', 1))],
    ['segments that do not fit', otherwise(set('segments', 4))],
    ['a short nonce', otherwise(set('nonce', new Uint8Array(15)))],
    ['a kind that is no name', otherwise(set('kind', 'STL model'))],
    ['no owner', otherwise((core) => delete core.owner)],
    ['an owner that is no compressed point', otherwise(set('owner', new Uint8Array(32)))],
    ['an unknown custody', otherwise(set('custody', 'control'))],
    ['another root', otherwise(set('hashRoot', new Uint8Array(32)))],
    ['no MAC of the content', otherwise((core) => delete core.contentMac)],
  ])('rejects %s', (_, bytes) => {
    expect(() => readManifest(bytes)).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
  });

  it('derives the design’s id from its owner and every other bit of its core', () => {
    const { core, designId } = readManifest(good);
    for (const change of [
      set('owner', new Uint8Array(33)),
      set('custody', 'keys'),
      set('privateHash', new Uint8Array(32)),
    ])
      expect(readCore(changed(change, core)).designId).not.toBe(designId);
  });

  it('refuses to encode a manifest that readers would reject', () => {
    expect(() => encodeManifest({ ...readManifest(good), private: new Uint8Array() })).toThrow(
      expect.objectContaining({ code: 'E_INPUT' }),
    );
  });
});
