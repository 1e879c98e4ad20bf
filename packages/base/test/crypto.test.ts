import { describe, expect, it } from 'vitest';
import * as bytesNode from '../src/bytes.ts';
import * as bytesBrowser from '../src/bytes-browser.ts';
import * as node from '../src/crypto.ts';
import * as browser from '../src/crypto-browser.ts';
import { fromHex, systemRandom, toHex, utf8 } from '../src/index.ts';

const both = [
  ['Node', node, browser],
  ['browsers', browser, node],
] as const;
const lengths = [0, 1, 15, 16, 17, 64, 1_000, 70_000];

it('Node and browsers have the same functions', () => {
  expect(Object.keys(browser).sort()).toEqual(Object.keys(node).sort());
  expect(Object.keys(bytesBrowser).sort()).toEqual(Object.keys(bytesNode).sort());
});

describe.each(both)('the cryptography of %s', (_name, own, other) => {
  it('hashes as in FIPS 180-4 and RFC 4231', () => {
    expect(toHex(own.sha256(utf8('a'), utf8('bc')))).toBe(
      'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
    );
    const mac = own.hmacSha256(utf8('Jefe'));
    mac.update(utf8('what do ya want '));
    mac.update(utf8('for nothing?'));
    expect(toHex(mac.digest())).toBe('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843');
  });

  it('hashes public bytes like any others', () => {
    for (const length of lengths) {
      const [message, key] = [systemRandom(length), systemRandom(length % 65)];
      const mac = own.hmacSha256(key);
      mac.update(message);
      const code = mac.digest();
      expect(own.hmacSha256OfPublic(key, message)).toEqual(code);
      expect(own.sha256OfPublic(message)).toEqual(other.sha256(message));
      const row = new Uint8Array(68);
      expect(own.sha256OfPublic(message, own.hmacSha256OfPublic(key, message, row, 1), 34)).toBe(row);
      expect(row.subarray(1, 33)).toEqual(code);
      expect(row.subarray(34, 66)).toEqual(other.sha256(message));
      expect([row[0], row[33], row[66], row[67]]).toEqual([0, 0, 0, 0]);
    }
    expect(() => own.hmacSha256OfPublic(new Uint8Array(65), new Uint8Array())).toThrow(RangeError);
  });

  it('derives keys as in RFC 5869, A.1, and like the other platform', () => {
    const secret = new Uint8Array(22).fill(0x0b);
    const [salt, info] = [fromHex('000102030405060708090a0b0c'), fromHex('f0f1f2f3f4f5f6f7f8f9')];
    expect(toHex(own.hkdf([secret], salt, info))).toBe(
      '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf',
    );
    for (const length of lengths) {
      const [secret, salt] = [systemRandom(length), systemRandom(length % 100)];
      const parts = [secret.subarray(0, length >> 1), secret.subarray(length >> 1)];
      expect(own.hkdf(parts, salt, info)).toEqual(other.hkdf([secret], salt, info));
    }
  });

  it('seals as in the GCM specification (test case 16), and like the other platform', () => {
    const key = fromHex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308');
    const plain = fromHex(
      'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
    );
    const associated = fromHex('feedfacedeadbeeffeedfacedeadbeefabaddad2');
    const sealed = own.sealAes256Gcm(key, fromHex('cafebabefacedbaddecaf888'), plain, associated);
    expect(toHex(sealed.subarray(-16))).toBe('76fc6ece0f4e1768cddf8853bb2d551b');
    for (const length of lengths) {
      const [key, nonce, plain, about] = [32, 12, length, 1 + (length % 50)].map(systemRandom) as [
        Uint8Array,
        Uint8Array,
        Uint8Array,
        Uint8Array,
      ];
      const sealed = own.sealAes256Gcm(key, nonce, plain, about);
      expect(sealed).toEqual(other.sealAes256Gcm(key, nonce, plain, about));
      expect(other.openAes256Gcm(key, nonce, sealed, about)).toEqual(plain);
      const altered = Uint8Array.from(sealed);
      altered[length >> 1] = (altered[length >> 1] ?? 0) ^ 1;
      expect(() => own.openAes256Gcm(key, nonce, altered, about)).toThrow();
      expect(() => own.openAes256Gcm(key, nonce, sealed)).toThrow();
    }
    expect(() => own.openAes256Gcm(key, new Uint8Array(12), new Uint8Array(15))).toThrow();
  });

  it('makes P-256 keys that agree and sign with those of the other platform', () => {
    for (let i = 0; i < 4; i++) {
      const [secret, peerSecret] = [own.generateP256Secret(), other.generateP256Secret()];
      const [pair, peer] = [own.p256Pair(secret), other.p256Pair(peerSecret)];
      expect(pair.publicKey).toEqual(other.p256Pair(secret).publicKey);
      expect(own.isP256Point(pair.publicKey)).toBe(true);
      expect(pair.agree(peer.publicKey)).toEqual(peer.agree(pair.publicKey));
      const message = systemRandom(100);
      const signature = pair.sign(message);
      expect(signature).toHaveLength(64);
      expect(other.verifyP256(pair.publicKey, message, signature)).toBe(true);
      expect(own.verifyP256(peer.publicKey, message, signature)).toBe(false);
      expect(own.verifyP256(pair.publicKey, systemRandom(100), signature)).toBe(false);
    }
  });

  it('rejects invalid scalars and points', () => {
    expect(() => own.p256Pair(new Uint8Array(32))).toThrow();
    expect(() => own.p256Pair(new Uint8Array(32).fill(0xff))).toThrow();
    const point = own.p256Pair(own.generateP256Secret()).publicKey;
    const off = Uint8Array.from(point);
    off[64] = (off[64] ?? 0) ^ 1;
    for (const bad of [off, point.subarray(1), new Uint8Array(65), new Uint8Array(0)]) {
      expect(own.isP256Point(bad)).toBe(false);
      expect(() => own.p256Pair(own.generateP256Secret()).agree(bad)).toThrow();
    }
  });

  it('signs with Ed25519 as in RFC 8032, 7.1 (test 2)', () => {
    const secret = fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb');
    const { publicKey, sign } = own.ed25519Pair(secret);
    expect(toHex(publicKey)).toBe('3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c');
    const signature = sign(Uint8Array.of(0x72));
    expect(toHex(signature)).toBe(
      '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
    );
    expect(other.verifyEd25519(publicKey, Uint8Array.of(0x72), signature)).toBe(true);
    expect(own.verifyEd25519(publicKey, Uint8Array.of(0x73), signature)).toBe(false);
  });
});

describe('byte functions in browsers', () => {
  it('encode and compare like Node', () => {
    for (const length of lengths) {
      const [a, b] = [systemRandom(length), systemRandom(length)];
      expect(bytesBrowser.toHex(a)).toBe(bytesNode.toHex(a));
      expect(bytesBrowser.fromHex(bytesNode.toHex(a))).toEqual(a);
      expect(bytesBrowser.toBase64(a)).toBe(bytesNode.toBase64(a));
      expect(bytesBrowser.fromBase64(bytesNode.toBase64(a))).toEqual(a);
      expect(Math.sign(bytesBrowser.compareBytes(a, b))).toBe(Math.sign(bytesNode.compareBytes(a, b)));
      expect(bytesBrowser.compareBytes(a, a)).toBe(0);
      expect(bytesBrowser.equalBytes(a, Uint8Array.from(a))).toBe(true);
      expect(bytesBrowser.equalBytes(a, b)).toBe(length === 0);
    }
    expect(bytesBrowser.compareBytes(Uint8Array.of(1), Uint8Array.of(1, 0))).toBe(-1);
  });

  it.each(['a', 'YQ', 'YR==', 'Y Q==', 'YQ==\n', 'YQ-_', '§'])('reject %s as base64, like Node', (text) => {
    expect(() => bytesNode.fromBase64(text)).toThrow(RangeError);
    expect(() => bytesBrowser.fromBase64(text)).toThrow(RangeError);
  });

  it.each(['a', 'zz', '0x'])('reject %s as hexadecimal', (text) => {
    expect(() => bytesBrowser.fromHex(text)).toThrow(RangeError);
  });
});
