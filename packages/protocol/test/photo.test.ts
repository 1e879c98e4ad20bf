import { concatBytes, utf8 } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import { describe, expect, it } from 'vitest';
import { cleanPhoto, openEvidence, sealEvidence } from '../src/index.ts';

const SECRET = 'GPS 52.5200 N 13.4050 E';
const u16 = (value: number) => [value >> 8, value & 255];
const segment = (marker: number, data: Uint8Array) => Uint8Array.of(0xff, marker, ...u16(data.length + 2), ...data);
const tables = segment(0xdb, new Uint8Array(65));
const frame = segment(0xc0, new Uint8Array(15));
const scan = concatBytes(segment(0xda, new Uint8Array(10)), Uint8Array.of(1, 2, 0xff, 0, 3, 0xff, 0xd0, 4));
const jpeg = (...extra: Uint8Array[]) =>
  concatBytes(Uint8Array.of(0xff, 0xd8), ...extra, tables, frame, scan, scan, Uint8Array.of(0xff, 0xd9));

const chunk = (type: string, data: Uint8Array) => {
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, data.length);
  return concatBytes(length, utf8(type), data, new Uint8Array(4));
};
const signature = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const [header, pixels, end] = [
  chunk('IHDR', new Uint8Array(13)),
  chunk('IDAT', new Uint8Array(40)),
  chunk('IEND', new Uint8Array()),
];
const png = (...extra: Uint8Array[]) => concatBytes(signature, header, ...extra, pixels, end);

const codeOf = (file: Uint8Array): string => {
  try {
    return cleanPhoto(file).type;
  } catch (error) {
    return (error as { code: string }).code;
  }
};

describe('a photo', () => {
  it('loses the metadata of a JPEG, and what follows the image', () => {
    const secret = utf8(SECRET);
    const extra = [segment(0xe1, secret), segment(0xe2, secret), segment(0xfe, secret), segment(0xed, secret)];
    const { type, bytes } = cleanPhoto(concatBytes(jpeg(...extra), secret));
    expect(type).toBe('image/jpeg');
    expect(bytes).toEqual(jpeg());
    expect(Buffer.from(bytes).includes(SECRET)).toBe(false);
  });

  it('loses the metadata of a PNG, and what follows the image', () => {
    const secret = utf8(SECRET);
    const extra = ['eXIf', 'tEXt', 'iTXt', 'zTXt', 'tIME', 'abCd'].map((name) => chunk(name, secret));
    const { type, bytes } = cleanPhoto(concatBytes(png(...extra), secret));
    expect(type).toBe('image/png');
    expect(bytes).toEqual(png());
  });

  it('of another format, truncated at any byte, or too large is refused', () => {
    expect(codeOf(jpeg())).toBe('image/jpeg');
    expect(codeOf(png())).toBe('image/png');
    for (const whole of [jpeg(), png()])
      for (let length = 0; length < whole.length; length++) expect(codeOf(whole.subarray(0, length))).toBe('E_INPUT');
    expect(codeOf(utf8('GIF89a'))).toBe('E_INPUT');
    expect(codeOf(png(chunk('IDAT', new Uint8Array(2_000_001))))).toBe('E_TOO_LARGE');
  });

  it('is sealed to the owner for one object', async () => {
    const owner = generateP256Key();
    const binding = { installation: '1'.repeat(32), object: `${'2'.repeat(32)}-1` };
    const evidence = { text: 'it came off the bed', photo: cleanPhoto(png()) };
    const sealed = await sealEvidence(owner.publicKey, binding, evidence);
    expect(await openEvidence(owner, binding, sealed)).toEqual(evidence);
    const elsewhere = { ...binding, object: `${'2'.repeat(32)}-2` };
    await expect(openEvidence(owner, elsewhere, sealed)).rejects.toMatchObject({ code: 'E_SEAL' });
    await expect(openEvidence(generateP256Key(), binding, sealed)).rejects.toMatchObject({ code: 'E_SEAL' });
  });
});
