import {
  constants,
  createCipheriv,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  privateDecrypt,
} from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { crc32, deflateRawSync } from 'node:zlib';
import { concatBytes, systemRandom, toBase64, toMillraceError, utf8 } from '@millrace/base';
import { consumerKey, consumerKeyId } from '@millrace/machine/agent';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fromBufferPromise } from 'yauzl';
import { readThreeMf } from '../src/three-mf/read.ts';
import { readConsumerPublicKey, writeThreeMf } from '../src/three-mf/write.ts';

const fixture = (name: string) => readFile(new URL(`fixtures/3mf/${name}`, import.meta.url));

const ID = '0123456789abcdef0123456789abcdef';
const JOB = 'Millrace/package.mrjob';
const STORE = 'Secure/keystore.xml';
const ROOT = '_rels/.rels';
const LINKS = '3D/_rels/3dmodel.model.rels';
const content = systemRandom(40_000);

// The key of the fixtures: it is used in this test only.
const privateKey = createPrivateKey(await fixture('consumer.pem'));
const publicKey = createPublicKey(privateKey);
const reader = { id: ID, keyId: consumerKeyId(publicKey), key: consumerKey(privateKey) };

let folder: string;
let file: Uint8Array;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace 3mf '));
  file = await written(content);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function written(bytes: Uint8Array): Promise<Uint8Array> {
  const path = join(folder, 'out.3mf');
  const source = { size: bytes.length, read: async (at: number, length: number) => bytes.slice(at, at + length) };
  await writeThreeMf(path, source, { id: ID, publicKey }, systemRandom);
  return new Uint8Array(await readFile(path));
}

async function read(bytes: Uint8Array, as: Partial<typeof reader> = {}): Promise<Uint8Array> {
  const target = join(folder, 'in.mrjob');
  await readThreeMf(bytes, target, { ...reader, ...as });
  return new Uint8Array(await readFile(target));
}

const refusal = (bytes: Uint8Array, as?: Partial<typeof reader>) =>
  read(bytes, as).then(
    () => 'accepted',
    (error: unknown) => toMillraceError(error).code,
  );

async function partsOf(bytes: Uint8Array): Promise<Map<string, Buffer>> {
  const zip = await fromBufferPromise(Buffer.from(bytes));
  const parts = new Map<string, Buffer>();
  for await (const entry of zip.eachEntry())
    parts.set(entry.fileName, await buffer(await zip.openReadStreamPromise(entry)));
  return parts;
}

/** A zip file, also such as no program would write. */
function zipOf(parts: Iterable<readonly [string, Uint8Array]>): Uint8Array {
  const locals: Buffer[] = [];
  const entries: Buffer[] = [];
  let offset = 0;
  for (const [name, bytes] of parts) {
    const packed = deflateRawSync(bytes);
    // Version 2.0, deflate, no time; CRC, sizes, length of the name, no extra field.
    const fields = Buffer.alloc(26);
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(8, 4);
    fields.writeUInt32LE(crc32(bytes), 10);
    fields.writeUInt32LE(packed.length, 14);
    fields.writeUInt32LE(bytes.length, 18);
    fields.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.from(name), packed]);
    const rest = Buffer.alloc(14);
    rest.writeUInt32LE(offset, 10);
    entries.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), fields, rest, Buffer.from(name)]));
    locals.push(local);
    offset += local.length;
  }
  const end = Buffer.alloc(22);
  end.write('PK\x05\x06');
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(Buffer.concat(entries).length, 12);
  end.writeUInt32LE(offset, 16);
  return new Uint8Array(Buffer.concat([...locals, ...entries, end]));
}

/** The file with one part replaced. */
async function changed(name: string, change: (text: string) => string, from = file): Promise<Uint8Array> {
  const parts = await partsOf(from);
  const before = parts.get(name)?.toString('latin1') ?? '';
  const after = change(before);
  expect(after).not.toBe(before);
  return zipOf(parts.set(name, Buffer.from(after, 'latin1')));
}

/** The file with other content under its own content key, as its owner could make it. */
async function resealed(bytes: Uint8Array, compression: string): Promise<Uint8Array> {
  const store = (await partsOf(file)).get(STORE)?.toString() ?? '';
  const wrapped = Buffer.from(/CipherValue>([^<]+)</.exec(store)?.[1] ?? '', 'base64');
  const padding = constants.RSA_PKCS1_OAEP_PADDING;
  const key = privateDecrypt({ key: privateKey, padding, oaepHash: 'sha256' }, wrapped);
  const iv = systemRandom(12);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  const sealed = Buffer.concat([cipher.update(bytes), cipher.final()]);
  const header = Uint8Array.of(0, 0, 0, 20, 0, 0, 0);
  const parts = await partsOf(file);
  parts.set(JOB, Buffer.concat([utf8('%3McF'), header, new Uint8Array(8), sealed]));
  const edited = store
    .replace(/<iv>.*<\/iv>/, `<iv>${toBase64(iv)}</iv>`)
    .replace(/<tag>.*<\/tag>/, `<tag>${toBase64(cipher.getAuthTag())}</tag>`)
    .replace(/<aad>.*<\/aad>/, '')
    .replace('compression="none"', `compression="${compression}"`);
  return zipOf(parts.set(STORE, Buffer.from(edited)));
}

describe('a 3MF file with a job package', () => {
  it('gives back the same bytes', async () => {
    for (const size of [0, 1, 40_000, 3 * 1_048_576 + 5]) {
      const bytes = systemRandom(size);
      expect(Buffer.compare(await read(await written(bytes)), bytes)).toBe(0);
    }
  });

  it('has the parts and relationships of 3MF Secure Content 1.0.3, and nothing of the package in clear', async () => {
    const parts = await partsOf(file);
    expect([...parts.keys()]).toEqual(['[Content_Types].xml', ROOT, '3D/3dmodel.model', LINKS, JOB, STORE]);
    const header = concatBytes(utf8('%3McF'), Uint8Array.of(0, 0, 0, 12, 0, 0, 0));
    expect(new Uint8Array(parts.get(JOB)?.subarray(0, 12) ?? [])).toEqual(header);
    expect(parts.get(JOB)?.length).toBe(12 + content.length);
    expect(Buffer.from(file).includes(Buffer.from(content.subarray(0, 16)))).toBe(false);
    expect(parts.get('3D/3dmodel.model')?.toString()).toContain('requiredextensions="sc"');
    expect(parts.get(STORE)?.toString()).toContain(`consumerid="${ID}" keyid="${reader.keyId}"`);
  });

  it('has a new content key, nonce and identifiers each time', async () => {
    const [one, other] = await Promise.all([file, await written(content)].map(partsOf));
    for (const name of ['UUID', 'keyuuid'].map((attribute) => new RegExp(`${attribute}="([^"]+)"`)))
      expect(name.exec(one?.get(STORE)?.toString() ?? '')?.[1]).not.toBe(
        name.exec(other?.get(STORE)?.toString() ?? '')?.[1],
      );
    expect(one?.get(JOB)?.subarray(12, 44)).not.toEqual(other?.get(JOB)?.subarray(12, 44));
  });

  it('may have a longer header, and content that was compressed before it was encrypted', async () => {
    expect(await read(await resealed(content, 'none'))).toEqual(content);
    expect(await read(await resealed(deflateRawSync(content), 'deflate'))).toEqual(content);
  });
});

// scripts/lib3mf-interop.py wrote them with lib3mf 2.5.0 of the 3MF Consortium. Only the relationship is ours: lib3mf
// encrypts parts with models.
describe('files of lib3mf', () => {
  it.each(['lib3mf-sha256-none.3mf', 'lib3mf-sha1-deflate.3mf'])('%s: its encrypted part is opened', async (name) => {
    const bytes = await changed(
      LINKS,
      (text) =>
        text
          .replace('3dmanufacturing/2013/01/3dmodel', 'x')
          .replace('http://schemas.microsoft.com/x', 'urn:millrace:3mf:job-package:1'),
      new Uint8Array(await fixture(name)),
    );
    const text = Buffer.from(await read(bytes)).toString();
    expect(text).toMatch(/^<\?xml/);
    expect(text.match(/<triangle /g)).toHaveLength(4);
    expect(text).toMatch(/<\/model>\s*$/);
  });
});

describe('refused are', () => {
  it('files that are no 3MF, or not whole', async () => {
    expect(await refusal(utf8('not a zip'))).toBe('E_PACKAGE');
    expect(await refusal(new Uint8Array())).toBe('E_PACKAGE');
    for (const end of [100, 20_000, file.length - 1]) expect(await refusal(file.subarray(0, end))).toBe('E_PACKAGE');
    expect(await refusal(zipOf([['a.txt', utf8('a')]]))).toBe('E_PACKAGE');
    await expect(readThreeMf(join(folder, 'none.3mf'), join(folder, 'x'), reader)).rejects.toMatchObject({
      code: 'E_NOT_FOUND',
    });
  });

  it('files for other consumers', async () => {
    expect(await refusal(file, { id: 'f'.repeat(32) })).toBe('E_PACKAGE_MACHINE');
    expect(await refusal(file, { keyId: 'f'.repeat(32) })).toBe('E_PACKAGE_DRIVER');
    const other = consumerKey(generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey);
    expect(await refusal(file, { key: other })).toBe('E_SEAL');
  });

  const edits: readonly (readonly [why: string, part: string, change: (text: string) => string])[] = [
    ['a document type', STORE, (text) => text.replace('<keystore', '<!DOCTYPE keystore><keystore')],
    [
      'entities',
      STORE,
      (text) => text.replace('<keystore', '<!DOCTYPE k [<!ENTITY a "b">]><keystore').replace('<aad>', '<aad>&a;'),
    ],
    ['an undeclared entity', STORE, (text) => text.replace('<aad>', '<aad>&a;')],
    ['XML that is not well-formed', STORE, (text) => text.replace('</keystore>', '')],
    ['bytes that are not UTF-8', STORE, (text) => text.replace('<aad>', '<aad>\xff')],
    ['another namespace', STORE, (text) => text.replace('securecontent/2019/04', 'securecontent/2019/07')],
    ['no UUID', STORE, (text) => text.replace(/ UUID="[^"]*"/, '')],
    ['a consumer that is not there', STORE, (text) => text.replace('consumerindex="0"', 'consumerindex="1"')],
    ['a mask of another hash', STORE, (text) => text.replace('mgf1sha256', 'mgf1sha1')],
    ['another wrapping algorithm', STORE, (text) => text.replace('xmlenc11#rsa-oaep', 'xmlenc#rsa-1_5')],
    ['another cipher', STORE, (text) => text.replace('aes256-gcm', 'aes256-cbc')],
    ['another compression', STORE, (text) => text.replace('"none"', '"bzip2"')],
    ['a short tag', STORE, (text) => text.replace(/<tag>.*<\/tag>/, `<tag>${'A'.repeat(16)}</tag>`)],
    ['another tag', STORE, (text) => text.replace(/<tag>.*<\/tag>/, `<tag>${'A'.repeat(22)}==</tag>`)],
    ['a long nonce', STORE, (text) => text.replace('<iv>', '<iv>AAAA')],
    ['text that is not base64', STORE, (text) => text.replace('<iv>', '<iv>*')],
    ['another AAD', STORE, (text) => text.replace('<aad>', '<aad>AAAA')],
    ['the same part twice', STORE, (text) => text.replace(/(<resourcedata .*<\/resourcedata>)/s, '$1$1')],
    ['no entry for the part', STORE, (text) => text.replace(`path="/${JOB}"`, 'path="/other"')],
    ['no key store', ROOT, (text) => text.replace('2019/04/keystore', '2019/04/none')],
    ['two models', ROOT, (text) => text.replace('2019/04/keystore', '2013/01/3dmodel')],
    ['a part that is not encrypted', LINKS, (text) => text.replace('encryptedfile', 'file')],
    ['no job package', LINKS, (text) => text.replace('urn:millrace', 'urn:other')],
    ['an external part', LINKS, (text) => text.replace('/>', ' TargetMode="External"/>')],
    ['a part that is not there', LINKS, (text) => text.replaceAll(JOB, `../${JOB}`)],
    ['another magic', JOB, (text) => text.replace('%3McF', '%3McG')],
    ['another version', JOB, (text) => text.replace('%3McF\x00\x00', '%3McF\x00\x01')],
    ['a header beyond the part', JOB, (text) => text.replace('\x0c\x00\x00\x00', '\xff\xff\x00\x00')],
    ['a header beyond the limit', JOB, (text) => text.replace('\x0c\x00\x00\x00', '\x0c\x00\x00\x01')],
    ['a header of no length', JOB, (text) => text.replace('\x0c\x00\x00\x00', '\x00\x00\x00\x00')],
    ['a part without its end', JOB, (text) => text.slice(0, -1)],
    ['a part without a header', JOB, () => '%3M'],
  ];
  it.each(edits)('%s', async (_, part, change) => {
    expect(await refusal(await changed(part, change))).toBe('E_PACKAGE');
  });

  it('parts with the same name', async () => {
    const parts = [...(await partsOf(file))];
    expect(await refusal(zipOf([...parts, [JOB.toUpperCase(), utf8('x')]]))).toBe('E_PACKAGE');
  });

  it('more parts, bytes and elements than the limits allow', async () => {
    const parts = await partsOf(file);
    const many = Array.from({ length: 257 }, (_, i) => [`${i}.txt`, utf8('')] as const);
    expect(await refusal(zipOf([...parts, ...many]))).toBe('E_TOO_LARGE');
    expect(await refusal(await changed(STORE, (text) => text + ' '.repeat(2_000_000)))).toBe('E_TOO_LARGE');
    expect(await refusal(await changed(JOB, () => '\0'.repeat(10_000_000)))).toBe('E_TOO_LARGE');
    const bomb = deflateRawSync(Buffer.alloc(50_000_000));
    expect(await refusal(await resealed(bomb, 'deflate'))).toBe('E_TOO_LARGE');
    expect(await refusal(await changed(ROOT, (text) => text.replace('<R', `${'<a>'.repeat(20)}<R`)))).toBe('E_PACKAGE');
    expect(await refusal(await changed(STORE, (text) => text.replace('<cons', `${'<a/>'.repeat(10_001)}<cons`)))).toBe(
      'E_PACKAGE',
    );
  });

  it('altered files, or they give the same bytes', async () => {
    const at = fc.integer({ min: 0, max: file.length - 1 });
    await fc.assert(
      fc.asyncProperty(at, fc.integer({ min: 1, max: 255 }), async (place, mask) => {
        const altered = file.slice();
        altered[place] = (altered[place] ?? 0) ^ mask;
        const outcome = await read(altered).catch((error: unknown) => toMillraceError(error).code);
        if (typeof outcome === 'string')
          expect(outcome).toMatch(/^E_(PACKAGE|PACKAGE_MACHINE|PACKAGE_DRIVER|SEAL|TOO_LARGE)$/);
        else expect(Buffer.compare(outcome, content)).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it('keys of consumers that are not public RSA keys of 2048 bits or more', async () => {
    const pem = {
      publicKeyEncoding: { type: 'spki', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
    } as const;
    expect(consumerKeyId(readConsumerPublicKey(publicKey.export({ type: 'spki', format: 'pem' }).toString()))).toBe(
      reader.keyId,
    );
    const wrong = [
      generateKeyPairSync('rsa', { modulusLength: 1_024, ...pem }).publicKey,
      generateKeyPairSync('ec', { namedCurve: 'P-256', ...pem }).publicKey,
      (await fixture('consumer.pem')).toString(),
      'no key',
    ];
    for (const text of wrong) expect(() => readConsumerPublicKey(String(text))).toThrow(/public RSA key of 2048 bits/);
  });
});
