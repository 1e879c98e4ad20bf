import { hkdfSync, randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { fromHex, hkdf, toHex } from '../src/index.ts';

it('matches RFC 5869, appendix A.1 and A.3, for 32 bytes', () => {
  const secret = [fromHex('0b'.repeat(22))];
  expect(toHex(hkdf(secret, fromHex('000102030405060708090a0b0c'), fromHex('f0f1f2f3f4f5f6f7f8f9')))).toBe(
    '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf',
  );
  expect(toHex(hkdf(secret, new Uint8Array(), new Uint8Array()))).toBe(
    '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d',
  );
});

it('matches node:crypto, with the secret in one part or several', () => {
  for (const length of [1, 32, 63, 64, 65, 200]) {
    const [secret, salt, info] = [randomBytes(length), randomBytes(length % 70), randomBytes(length)];
    const theirs = toHex(new Uint8Array(hkdfSync('sha256', secret, salt, info, 32)));
    expect(toHex(hkdf([secret], salt, info))).toBe(theirs);
    expect(toHex(hkdf([secret.subarray(0, length >> 1), secret.subarray(length >> 1)], salt, info))).toBe(theirs);
  }
});
