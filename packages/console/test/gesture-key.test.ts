import { MillraceError, systemRandom, toBase64, utf8 } from '@millrace/base';
import { generateUserKey, keyName, type MemorySigner, userKey } from '@millrace/identity';
import { beforeAll, expect, it } from 'vitest';
import { GestureKey } from '../src/web/gesture-key.ts';
import { aboutOf, type Identity } from '../src/web/identity-shape.ts';
import { wrapKey } from '../src/web/wrap.ts';

const RIGHT = 'correct horse battery';
let own: MemorySigner;
let identity: Identity;

async function identityOf(signer: MemorySigner, named = signer): Promise<Identity> {
  const about = { installation: 'ab'.repeat(16), key: keyName(named.publicKey) };
  const unlock = { kind: 'passphrase', passphrase: utf8(RIGHT) } as const;
  const salt = systemRandom(32);
  const wrapped = await wrapKey(signer.exportSecret(), unlock, { salt, about: aboutOf(about), random: systemRandom });
  return { version: 1, ...about, adminKey: '', name: 'Ada', wrapped: { ...wrapped, salt: toBase64(salt) } };
}
beforeAll(async () => {
  own = generateUserKey();
  identity = await identityOf(own);
});

/** A person who types these one after the other; and what was typed, and what was said about it. */
function person(...texts: string[]) {
  const typed: Uint8Array[] = [];
  const said: (string | undefined)[] = [];
  const ask = async (failure?: MillraceError) => {
    said.push(failure?.code);
    const passphrase = utf8(texts.shift() ?? '');
    typed.push(passphrase);
    return { kind: 'passphrase', passphrase } as const;
  };
  return { ask, typed, said };
}

it('asks once for the signatures of a task, and again after it was released', { timeout: 60_000 }, async () => {
  const { ask, said } = person(RIGHT, RIGHT);
  const key = new GestureKey(identity, own.publicKey, ask);
  const { signer } = key;
  expect(() => signer.exportSecret()).toThrow(MillraceError);
  const message = systemRandom(32);
  const [a, b] = await Promise.all([signer.sign(message), signer.sign(message)]);
  expect([a, b]).toEqual([await own.sign(message), await own.sign(message)]);
  expect(said).toEqual([undefined]);
  key.release();
  await signer.sign(message);
  expect(said).toEqual([undefined, undefined]);
});

it('says why a passphrase opens nothing, asks again, and wipes what was typed', { timeout: 60_000 }, async () => {
  const { ask, typed, said } = person('wrong', RIGHT);
  const key = new GestureKey(identity, own.publicKey, ask);
  await key.open();
  expect(said).toEqual([undefined, 'E_SEAL']);
  expect(typed.map((text) => text.every((byte) => byte === 0))).toEqual([true, true]);
  const copy = userKey(key.signer.exportSecret());
  expect(copy.publicKey).toEqual(own.publicKey);
  key.release();
  expect(() => key.signer.exportSecret()).toThrow(MillraceError);
});

it('after its release, opens for one signature at a time', { timeout: 60_000 }, async () => {
  const { ask, said } = person(RIGHT, RIGHT, RIGHT);
  const key = new GestureKey(identity, own.publicKey, ask);
  await key.open();
  key.release();
  for (let n = 0; n < 2; n++) {
    await key.signer.sign(systemRandom(32));
    expect(() => key.signer.exportSecret()).toThrow(MillraceError);
  }
  expect(said.length).toBe(3);
});

it('refuses a wrapped key that is another than its credential names', { timeout: 60_000 }, async () => {
  const other = generateUserKey();
  const key = new GestureKey(await identityOf(other, own), own.publicKey, person(RIGHT).ask);
  await expect(key.open()).rejects.toMatchObject({ code: 'E_AUTH' });
});
