import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { concatBytes, fromBase64, fromHex, toBase64, toHex, utf8 } from '@millrace/base';
import { codeOf, naiveReader } from '@millrace/testkit/ledger/helpers';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  CompactRange,
  cosign,
  decodeBundle,
  decodeCertificate,
  decodeEvent,
  decodeOpening,
  ed25519NoteSigner,
  encodeCertificate,
  encodeEvent,
  formatVerifierKey,
  inclusionProof,
  leafHash,
  mapKey,
  mapRootOf,
  noteTypes,
  openCheckpoint,
  parseNote,
  parseTilePath,
  parseVerifierKey,
  signatureBy,
  signText,
  tileNodes,
  tilePath,
  tilesOf,
  verifyCertificate,
  verifyConsistency,
  verifyEd25519,
  verifyInclusion,
  verifyMapProof,
} from '../src/index.ts';

function load<S extends z.ZodType>(name: string, schema: S): z.output<S> {
  const file = new URL(`../../../vectors/ledger/${name}`, import.meta.url);
  return schema.parse(JSON.parse(readFileSync(file, 'utf8')));
}

const count = z.int().min(0);
const about = z.string();

describe('vectors/ledger', () => {
  test('tree.json', async () => {
    const sized = z.strictObject({ size: count, root: z.string() });
    const vectors = load(
      'tree.json',
      z.strictObject({
        about,
        entries: z.array(z.string()),
        roots: z.array(z.string()),
        inclusion: z.array(z.strictObject({ index: count, size: count, proof: z.array(z.string()) })).min(36),
        consistency: z.array(z.strictObject({ old: count, size: count, proof: z.array(z.string()) })).min(36),
        large: z.strictObject({ rule: z.string(), roots: z.array(sized).min(1) }),
      }),
    );
    const leaves = vectors.entries.map((entry) => leafHash(fromHex(entry)));
    const roots = vectors.roots.map(fromHex);
    const range = new CompactRange();
    expect(toHex(range.root())).toBe(vectors.roots[0]);
    for (const [i, leaf] of leaves.entries()) {
      range.push(leaf);
      expect(toHex(range.root())).toBe(vectors.roots[i + 1]);
    }
    const none = new Uint8Array(32);
    for (const { index, size, proof } of vectors.inclusion) {
      const path = proof.map(fromHex);
      expect(verifyInclusion(leaves[index] ?? none, index, size, path, roots[size] ?? none)).toBe(true);
      expect((await inclusionProof(index, size, naiveReader(leaves))).map(toHex)).toEqual(proof);
    }
    for (const { old, size, proof } of vectors.consistency) {
      expect(verifyConsistency(old, size, proof.map(fromHex), roots[old] ?? none, roots[size] ?? none)).toBe(true);
    }
    const large = new CompactRange();
    for (const { size, root } of vectors.large.roots) {
      while (large.size < size) large.push(leafHash(utf8(`entry ${large.size}`)));
      expect(toHex(large.root())).toBe(root);
    }
  });

  test('tiles.json', () => {
    const vectors = load(
      'tiles.json',
      z.strictObject({
        about,
        valid: z.array(z.looseObject({ path: z.string() })).min(6),
        invalid: z.array(z.string()).min(15),
        sizes: z.array(z.strictObject({ size: count, tiles: z.array(z.array(count)), count })).min(6),
      }),
    );
    for (const { path, ...name } of vectors.valid) {
      const parsed = parseTilePath(path);
      expect(name).toMatchObject(parsed ?? { path });
      if (parsed !== undefined) expect(tilePath(parsed)).toBe(path);
    }
    for (const path of vectors.invalid) expect(parseTilePath(path), path).toBeUndefined();
    for (const { size, tiles, count: total } of vectors.sizes) {
      const all = [...tilesOf(size)].map(({ level, index, width }) => [level, index, width]);
      expect(all.slice(-4)).toEqual(tiles);
      expect(all).toHaveLength(total);
    }
  });

  test('notes.json', async () => {
    const vectors = load(
      'notes.json',
      z.strictObject({
        about,
        notes: z.array(z.strictObject({ source: z.string(), verifierKey: z.string(), note: z.string() })).min(2),
        checkpoint: z.strictObject({
          logSecret: z.string(),
          logKey: z.string(),
          witnessSecret: z.string(),
          witnessKey: z.string(),
          text: z.string(),
          note: z.string(),
          origin: z.string(),
          size: count,
          root: z.string(),
          cosignatureTime: count,
        }),
        invalid: z.array(z.strictObject({ what: z.string(), note: z.string() })).min(10),
      }),
    );
    for (const { verifierKey, note } of vectors.notes) {
      const key = parseVerifierKey(verifierKey);
      expect(formatVerifierKey(key.name, key.publicKey)).toBe(verifierKey);
      const parsed = parseNote(utf8(note));
      const line = signatureBy(parsed, key);
      expect(verifyEd25519(key.publicKey, utf8(parsed.text), line?.signature ?? new Uint8Array(0))).toBe(true);
    }
    const { checkpoint } = vectors;
    const logKey = parseVerifierKey(checkpoint.logKey);
    const witnesses = [parseVerifierKey(checkpoint.witnessKey)];
    const opened = openCheckpoint(utf8(checkpoint.note), { logKey, witnesses });
    expect(opened).toMatchObject({
      origin: checkpoint.origin,
      size: checkpoint.size,
      root: fromHex(checkpoint.root),
      cosignatures: [{ time: checkpoint.cosignatureTime }],
      unknownSignatures: 0,
    });
    expect(opened.note.text).toBe(checkpoint.text);
    const signer = ed25519NoteSigner(checkpoint.origin, fromHex(checkpoint.logSecret));
    const witness = ed25519NoteSigner(witnesses[0]?.name ?? '', fromHex(checkpoint.witnessSecret));
    expect(formatVerifierKey(witness.name, witness.publicKey, noteTypes.cosignature)).toBe(checkpoint.witnessKey);
    expect(opened.note.signatures).toEqual([
      await signText(checkpoint.text, signer),
      await cosign(checkpoint.text, checkpoint.cosignatureTime, witness),
    ]);
    for (const { what, note } of vectors.invalid) {
      expect(await codeOf(() => openCheckpoint(utf8(note), { logKey, witnesses })), what).toBe('E_LEDGER_CHECKPOINT');
    }
  });

  test('events.json', async () => {
    const vectors = load(
      'events.json',
      z.strictObject({
        about,
        valid: z
          .array(
            z.strictObject({
              event: z.unknown(),
              encoded: z.string(),
              salt: z.string(),
              entry: z.string(),
              hash: z.string(),
            }),
          )
          .min(3),
        invalid: z.array(z.strictObject({ what: z.string(), encoded: z.string() })).min(10),
      }),
    );
    for (const { event, encoded, salt, entry, hash } of vectors.valid) {
      const logged = decodeOpening(concatBytes(fromHex(salt), fromHex(encoded)), 0);
      expect(logged.event).toEqual(withBytes(event));
      expect(toHex(logged.entry)).toBe(entry);
      expect(toHex(logged.hash)).toBe(hash);
      expect(toHex(encodeEvent(logged.event))).toBe(encoded);
      expect(createHmac('sha256', fromHex(salt)).update(fromHex(encoded)).digest('hex')).toBe(entry.slice(2));
    }
    for (const { what, encoded } of vectors.invalid) {
      expect(await codeOf(() => decodeEvent(fromHex(encoded))), what).toBe('E_LEDGER_ENTRY');
    }
  });

  test('log.json', async () => {
    const vectors = load(
      'log.json',
      z.strictObject({
        about,
        logKey: z.string(),
        checkpoint: z.string(),
        size: count,
        served: z.record(z.string(), z.string()),
        inclusion: z.array(z.strictObject({ index: count, proof: z.array(z.string()) })).min(5),
        consistency: z.array(z.strictObject({ old: count, root: z.string(), proof: z.array(z.string()) })).min(5),
      }),
    );
    const { size, root } = openCheckpoint(utf8(vectors.checkpoint), { logKey: parseVerifierKey(vectors.logKey) });
    expect(size).toBe(vectors.size);
    const served = (path: string) => fromBase64(vectors.served[path] ?? '');
    const entries = ['tile/entries/000', 'tile/entries/001.p/4'].flatMap((path) => decodeBundle(served(path)));
    const range = new CompactRange();
    for (const entry of entries) range.push(leafHash(entry));
    expect(range.size).toBe(size);
    expect(range.root()).toEqual(root);
    const read = tileNodes(async (level, index) => {
      const tile = [...tilesOf(size)].find((name) => name.level === level && name.index === index);
      return tile && served(tilePath({ kind: 'hashes', ...tile }));
    });
    for (const { index, proof } of vectors.inclusion) {
      const leaf = leafHash(entries[index] ?? new Uint8Array(0));
      expect(verifyInclusion(leaf, index, size, proof.map(fromBase64), root)).toBe(true);
      expect((await inclusionProof(index, size, read)).map(toBase64)).toEqual(proof);
    }
    for (const { old, root: oldRoot, proof } of vectors.consistency) {
      expect(verifyConsistency(old, size, proof.map(fromBase64), fromBase64(oldRoot), root)).toBe(true);
    }
  });

  test('map.json', () => {
    const hex = z.string().transform(fromHex);
    const value = z.strictObject({ sequence: count, hash: hex });
    const proof = z.strictObject({ account: z.string(), siblings: z.array(hex), other: z.string().optional() });
    const vectors = load(
      'map.json',
      z.strictObject({
        about,
        salt: hex,
        accounts: z.array(z.strictObject({ account: z.string(), key: hex, sequence: count, hash: hex })).min(20),
        root: hex,
        present: z.array(proof).min(20),
        absent: z.array(proof).min(6),
        refused: z.array(proof.extend({ what: z.string(), newest: value.optional() })).min(11),
      }),
    );
    const { salt, root, accounts } = vectors;
    const leafOf = (name: string | undefined) => accounts.find(({ account }) => account === name);
    for (const { account, key } of accounts) expect(mapKey(salt, utf8(account))).toEqual(key);
    expect(mapRootOf(accounts)).toEqual(root);
    for (const { account, siblings } of vectors.present)
      expect(verifyMapProof(root, mapKey(salt, utf8(account)), leafOf(account), { siblings })).toBe(true);
    for (const { account, siblings, other } of vectors.absent)
      expect(
        verifyMapProof(root, mapKey(salt, utf8(account)), undefined, { siblings, other: leafOf(other) }),
        account,
      ).toBe(true);
    expect(new Set(vectors.absent.map(({ other }) => other === undefined)).size).toBe(2);
    for (const { what, account, newest, siblings, other } of vectors.refused)
      expect(verifyMapProof(root, mapKey(salt, utf8(account)), newest, { siblings, other: leafOf(other) }), what).toBe(
        false,
      );
  });

  test('map-certificate.json', async () => {
    const hex = z.string().transform(fromHex);
    const made = z.strictObject({ what: z.string(), certificate: hex, code: z.string().optional() });
    const vectors = load(
      'map-certificate.json',
      z.strictObject({
        about,
        logKey: z.string(),
        index: count,
        root: hex,
        salt: hex,
        accounts: z
          .array(
            z.strictObject({
              account: z.string(),
              key: hex,
              sequence: count,
              hash: hex,
              leaf: hex,
              siblings: z.array(hex),
            }),
          )
          .length(3),
        accepted: z.array(made).min(2),
        refused: z.array(made).min(6),
      }),
    );
    const { logKey, index, root, salt, accounts } = vectors;
    for (const { account, key, leaf, siblings, ...newest } of accounts) {
      expect(mapKey(salt, utf8(account))).toEqual(key);
      expect(mapRootOf([{ key, ...newest }]), account).toEqual(leaf);
      expect(verifyMapProof(root, key, newest, { siblings }), account).toBe(true);
    }
    expect(mapRootOf(accounts)).toEqual(root);
    for (const { what, certificate } of vectors.accepted) {
      expect(verifyCertificate(certificate, { logKey }).completeTo, what).toBe(index);
      const paths = decodeCertificate(certificate).map?.accounts;
      expect(new Set(paths?.map(pathText))).toEqual(new Set(accounts.map(({ siblings }) => pathText(siblings))));
    }
    for (const { what, certificate, code } of vectors.refused)
      expect(await codeOf(() => verifyCertificate(certificate, { logKey })), what).toBe(code);
  });

  test('certificate.json', async () => {
    const refused = z.strictObject({
      what: z.string(),
      certificate: z.string(),
      logKey: z.string().optional(),
      code: z.string(),
    });
    const vectors = load(
      'certificate.json',
      z.strictObject({
        about,
        logKey: z.string(),
        certificate: z.string(),
        object: z.string(),
        state: z.string(),
        size: count,
        indices: z.array(count),
        refused: z.array(refused).min(10),
      }),
    );
    const bytes = fromHex(vectors.certificate);
    const verified = verifyCertificate(bytes, { logKey: vectors.logKey });
    expect(verified).toMatchObject({
      object: vectors.object,
      state: vectors.state,
      checkpoint: { size: vectors.size },
    });
    const parts = decodeCertificate(bytes);
    expect(parts.entries.map(({ index }) => index)).toEqual(vectors.indices);
    expect(encodeCertificate(parts)).toEqual(bytes);
    for (const { what, certificate, logKey, code } of vectors.refused) {
      const run = () => verifyCertificate(fromHex(certificate), { logKey: logKey ?? vectors.logKey });
      expect(await codeOf(run), what).toBe(code);
    }
  });
});

const pathText = (siblings: readonly Uint8Array[]) => siblings.map(toHex).join(' ');

/** `{"hex": …}` in a vector encodes bytes. */
function withBytes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withBytes);
  if (typeof value !== 'object' || value === null) return value;
  if ('hex' in value && typeof value.hex === 'string') return fromHex(value.hex);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, withBytes(item)]));
}
