import { systemRandom, toHex } from '@millrace/base';
import { codeOf } from '@millrace/testkit/ledger/helpers';
import { describe, expect, it } from 'vitest';
import { type Unlock, unwrapKey, wrapKey } from '../src/web/wrap.ts';

const secret = new Uint8Array(32).fill(5);
const passkey = async (fill: number): Promise<Unlock> => ({
  kind: 'passkey',
  key: await crypto.subtle.importKey('raw', new Uint8Array(32).fill(fill), 'HKDF', false, ['deriveKey']),
});
const passphrase = (text: string): Unlock => ({ kind: 'passphrase', passphrase: new TextEncoder().encode(text) });
const options = { salt: systemRandom(32), about: 'installation/key', random: systemRandom };

describe('a wrapped key', () => {
  it('opens with the same passkey, for the same entry', async () => {
    const wrapped = await wrapKey(secret, await passkey(1), options);
    expect(await unwrapKey(wrapped, await passkey(1), options.about)).toEqual(secret);
    expect(JSON.stringify(wrapped)).not.toContain(toHex(secret));
    expect(await codeOf(async () => unwrapKey(wrapped, await passkey(2), options.about))).toBe('E_SEAL');
    expect(await codeOf(async () => unwrapKey(wrapped, await passkey(1), 'installation/other'))).toBe('E_SEAL');
    const other = {
      ...wrapped,
      salt: (await wrapKey(secret, await passkey(1), { ...options, salt: systemRandom(32) })).salt,
    };
    expect(await codeOf(async () => unwrapKey(other, await passkey(1), options.about))).toBe('E_SEAL');
  });

  it('opens with the same passphrase, not with a passkey', async () => {
    const wrapped = await wrapKey(secret, passphrase('a long passphrase'), options);
    expect(await unwrapKey(wrapped, passphrase('a long passphrase'), options.about)).toEqual(secret);
    expect(await codeOf(async () => unwrapKey(wrapped, await passkey(1), options.about))).toBe('E_SEAL');
  });
});
