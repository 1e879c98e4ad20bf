import { chmod, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type Bytes, equalBytes, MillraceError, utf8 } from '@millrace/base';
import { generateP256Key, type MachineKey, seal, unsealByAgreement, verifySignature } from '@millrace/identity';
import { openSoftHsm, type SoftHsm } from '@millrace/testkit/soft-hsm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Cryptoki, ck, loadCryptoki } from '../src/pkcs11/binding.ts';
import { createTokenKey, openTokenKey, type TokenKeyPlace, type TokenPlace } from '../src/pkcs11/index.ts';

const found = await openSoftHsm();
if (typeof found === 'string') console.warn(`skipped: ${found}`);
const PIN = '271828';

describe.skipIf(typeof found === 'string')('a machine’s key in a token of SoftHSM2', () => {
  const hsm = found as SoftHsm;
  let place: TokenPlace;
  let keyPlace: TokenKeyPlace;
  let key: MachineKey;
  let careful: { readonly serial: string };

  /** Calls that went to the module, with another behaviour of some. */
  const spied = (change: Partial<Cryptoki> = {}) => {
    const calls: string[] = [];
    const load = async (module: string) => {
      const real = await loadCryptoki(module);
      return new Proxy(real, {
        get: (_, name: keyof Cryptoki) => {
          const own: unknown = change[name] ?? real[name];
          if (typeof own !== 'function') return own; // a promise asks for `then`
          calls.push(name);
          return own.bind(real);
        },
      });
    };
    return { calls, load };
  };
  const errorOf = async (opening: Promise<unknown>): Promise<MillraceError> => {
    const error = await opening.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (!(error instanceof MillraceError)) throw new Error('expected a coded error', { cause: error });
    return error;
  };
  const codeOf = async (opening: Promise<unknown>) => (await errorOf(opening)).code;
  const opened = (with_: Partial<TokenKeyPlace> = {}, load = spied().load) =>
    openTokenKey({ ...keyPlace, ...with_ }, { load });
  /** Flags of the token as if wrong PINs had been entered. */
  const withFlags = (more: number): Partial<Cryptoki> => ({
    C_GetTokenInfo(this: Cryptoki, slot) {
      const info = this.C_GetTokenInfo(slot);
      return { ...info, flags: info.flags | more };
    },
    // As in a process that has not logged in yet.
    C_GetSessionInfo: () => ({ state: 0 }),
  });

  beforeAll(async () => {
    const { serial } = await hsm.addToken('mill', PIN);
    careful = await hsm.addToken('careful', PIN);
    await hsm.addToken('twin', PIN);
    await hsm.addToken('twin', PIN);
    const pin = { file: await hsm.pinFile('pin', PIN), refusal: join(hsm.folder, 'refused') };
    place = { module: hsm.module, label: 'mill', serial, pin };
    const { id, publicKey } = await createTokenKey(place, 'machine one', { attended: true });
    keyPlace = { ...place, id, publicKey };
    key = await openTokenKey(keyPlace);
  });
  afterAll(async () => {
    key?.close();
    await hsm.close();
  });

  it('signs and agrees like a key in memory', async () => {
    const message = utf8('a document');
    expect(verifySignature('ES256', key.publicKey, message, await key.sign(message))).toBe(true);
    const other = generateP256Key();
    expect(equalBytes(await key.agree(other.publicKey), await other.agree(key.publicKey))).toBe(true);
    const sealed = await seal(key.publicKey, utf8('purpose'), utf8('design secret'));
    expect(await unsealByAgreement(key, utf8('purpose'), sealed)).toEqual(utf8('design secret'));
    expect(key.storage).toBe('pkcs11');
  });

  it('signs and agrees many times at once: one operation of a session at a time', async () => {
    const other = generateP256Key();
    const secret = await other.agree(key.publicKey);
    const messages = Array.from({ length: 20 }, (_, at) => utf8(`document ${at}`));
    const [signatures, agreed] = await Promise.all([
      Promise.all(messages.map((message) => key.sign(message))),
      Promise.all(messages.map(() => key.agree(other.publicKey))),
    ]);
    const valid = messages.map((message, at) =>
      verifySignature('ES256', key.publicKey, message, signatures[at] ?? new Uint8Array()),
    );
    expect(valid).toEqual(messages.map(() => true));
    expect(agreed.every((one: Bytes) => equalBytes(one, secret))).toBe(true);
  });

  it('is sensitive and not extractable, and the token gives no secret bytes', async () => {
    const cryptoki = await loadCryptoki(hsm.module);
    const slot = cryptoki.C_GetSlotList(true).find((at) => cryptoki.C_GetTokenInfo(at).label.startsWith('mill '));
    const session = cryptoki.C_OpenSession(slot ?? new Uint8Array(), ck.CKF_SERIAL_SESSION);
    const value = Buffer.from(keyPlace.id);
    cryptoki.C_FindObjectsInit(session, [
      { type: ck.CKA_CLASS, value: ck.CKO_PRIVATE_KEY },
      { type: ck.CKA_ID, value },
    ]);
    const [object = new Uint8Array()] = cryptoki.C_FindObjects(session, 1);
    cryptoki.C_FindObjectsFinal(session);
    const [sensitive, extractable] = cryptoki.C_GetAttributeValue(session, object, [
      { type: ck.CKA_SENSITIVE },
      { type: ck.CKA_EXTRACTABLE },
    ]);
    expect([sensitive?.value[0], extractable?.value[0]]).toEqual([1, 0]);
    expect(() => cryptoki.C_GetAttributeValue(session, object, [{ type: ck.CKA_VALUE }])).toThrow(
      'CKR_ATTRIBUTE_SENSITIVE',
    );
    cryptoki.C_CloseSession(session);
  });

  it('refuses a point that is not on the curve before it reaches the token, and goes on', async () => {
    const { calls, load } = spied();
    const cautious = await opened({}, load);
    const before = calls.length;
    const bad = generateP256Key().publicKey.slice();
    bad[64] = (bad[64] ?? 0) ^ 1;
    expect(await codeOf(cautious.agree(bad))).toBe('E_INPUT');
    expect(calls.length).toBe(before);
    await cautious.sign(utf8('still there'));
    cautious.close();
  });

  it('keeps several machines in one token', async () => {
    const second = await createTokenKey(place, 'machine two', { attended: true });
    const other = await openTokenKey({ ...place, ...second });
    expect(equalBytes(other.publicKey, key.publicKey)).toBe(false);
    const message = utf8('whose');
    const [own, theirs] = [await key.sign(message), await other.sign(message)];
    expect(verifySignature('ES256', key.publicKey, message, own)).toBe(true);
    expect(verifySignature('ES256', key.publicKey, message, theirs)).toBe(false);
    other.close();
  });

  it('describes the token, and calls SoftHSM no hardware', async () => {
    const { token } = await createTokenKey(place, 'machine three', { attended: true });
    expect(token).toEqual({
      manufacturer: 'SoftHSM project',
      model: 'SoftHSM v2',
      serial: place.serial,
      hardware: false,
    });
  });

  describe('another token', () => {
    it('with the same label is refused, and is not given the PIN', async () => {
      const { calls, load } = spied();
      expect(await codeOf(opened({ serial: '0123456789abcdef' }, load))).toBe('E_HSM');
      expect(calls).not.toContain('C_Login');
    });

    it('with the same label and serial number, but another key, is refused', async () => {
      const impostor = await createTokenKey(place, 'impostor', { attended: true });
      const error = await errorOf(opened({ id: impostor.id }));
      expect(error.code).toBe('E_HSM');
      expect(error.message).toContain('another key');
      expect(await codeOf(opened({ id: new Uint8Array(16) }))).toBe('E_HSM');
    });

    it('that comes while the agent works is noticed with the next signature, and ends the use of the key', async () => {
      const thief = generateP256Key();
      let exchanged = false;
      let message = utf8('');
      const { load } = spied({
        async C_SignAsync(this: Cryptoki, session, digest, signature) {
          if (!exchanged) return this.C_SignAsync(session, digest, signature);
          return thief.sign(message);
        },
      });
      const watched = await opened({}, load);
      exchanged = true;
      message = utf8('signed elsewhere');
      expect(await codeOf(watched.sign(message))).toBe('E_HSM');
      expect(watched.token?.lost.aborted).toBe(true);
      exchanged = false;
      expect(await codeOf(watched.sign(message))).toBe('E_HSM');
      expect(await codeOf(watched.agree(thief.publicKey))).toBe('E_HSM');
      watched.close();
    });

    it('of which two have the label is not guessed', async () => {
      const { serial: _, ...any } = place;
      const why = async (label: string) =>
        (await errorOf(createTokenKey({ ...any, label }, 'x', { attended: true }))).message;
      expect(await why('twin')).toContain('several tokens have the label');
      expect(await why('no such token')).toContain('missing');
    });
  });

  describe('the PIN', () => {
    const refusal = () => join(hsm.folder, 'refused-here');

    it('is read from a file that only its owner may read', async () => {
      const file = await hsm.pinFile('open', PIN);
      await chmod(file, 0o640);
      const error = await errorOf(opened({ pin: { file, refusal: refusal() } }, spied(withFlags(0)).load));
      expect(error.code).toBe('E_CONFIG');
      expect(error.message).toContain('chmod 600');
    });

    it('that is wrong is tried once, however often the agent is started', async () => {
      const file = await hsm.pinFile('wrong', '999999');
      const pin = { file, refusal: refusal() };
      const wrong = { label: 'careful', serial: careful.serial, pin };
      const { calls, load } = spied();
      const errors: MillraceError[] = [];
      for (let start = 0; start < 5; start++) errors.push(await errorOf(opened(wrong, load)));
      expect(errors.map(({ code }) => code)).toEqual(new Array(5).fill('E_PIN'));
      expect(calls.filter((name) => name === 'C_Login').length).toBe(1);
      const shown = errors.map((error) => [
        error.message,
        error.stack,
        JSON.stringify(error.data),
        String(error.cause),
      ]);
      expect(shown.flat().join('\n')).not.toContain('999999');

      // Corrected: tried again, and the mark is removed.
      const { mtimeMs } = await stat(refusal());
      await writeFile(file, PIN);
      await utimes(file, new Date(), new Date(mtimeMs + 1_000));
      expect(await codeOf(opened(wrong, load))).toBe('E_HSM'); // logged in; this token has no such key
      await expect(stat(refusal())).rejects.toThrow('ENOENT');
    });

    it('that is wrong is tried once by twenty machines that start together', async () => {
      const { serial } = careful;
      const { calls, load } = spied({ C_GetSessionInfo: () => ({ state: 0 }) });
      const file = await hsm.pinFile('wrong-for-all', '999999');
      const starts = Array.from({ length: 20 }, (_, at) => {
        const pin = { file, refusal: join(hsm.folder, `refused-${at}`) };
        const wrong = { ...place, label: 'careful', serial, pin };
        return codeOf(
          at % 2 === 0 ? opened(wrong, load) : createTokenKey(wrong, `machine ${at}`, { attended: false, load }),
        );
      });
      expect(await Promise.all(starts)).toEqual(new Array(20).fill('E_PIN'));
      expect(calls.filter((name) => name === 'C_Login').length).toBe(1);
    });

    it('is not entered if somebody has entered a wrong one, or if it is the last try, or locked', async () => {
      const { pin } = place;
      for (const flag of [ck.CKF_USER_PIN_COUNT_LOW, ck.CKF_USER_PIN_FINAL_TRY, ck.CKF_USER_PIN_LOCKED]) {
        const { calls, load } = spied(withFlags(flag));
        expect(await codeOf(opened({ pin }, load))).toBe('E_PIN');
        expect(calls).not.toContain('C_Login');
      }
      // A person at the terminal may try, but never the last time.
      const final = spied(withFlags(ck.CKF_USER_PIN_FINAL_TRY));
      expect(await codeOf(createTokenKey(place, 'x', { attended: true, load: final.load }))).toBe('E_PIN');
      expect(final.calls).not.toContain('C_Login');
    });

    it('may come from a PIN agent at a socket', async () => {
      const socket = join(hsm.folder, 'pin.sock');
      const server = createServer((connection) => connection.end(`${PIN}\n`)).listen(socket);
      const entered: string[] = [];
      const { load } = spied({
        ...withFlags(0),
        C_Login: (_session, _user, pin) => void entered.push(pin),
      });
      const own = await opened({ pin: { socket, refusal: refusal() } }, load);
      expect(entered).toEqual([PIN]);
      own.close();
      server.close();
      const none = { pin: { refusal: refusal() } };
      expect(await codeOf(opened(none, spied(withFlags(0)).load))).toBe('E_CONFIG');
    });

    it('must be one line', async () => {
      for (const text of ['', 'x'.repeat(300), 'two\nlines']) {
        const file = await hsm.pinFile('odd', text);
        expect(await codeOf(opened({ pin: { file, refusal: refusal() } }, spied(withFlags(0)).load))).toBe('E_CONFIG');
        await rm(file);
      }
    });
  });

  // Last: SoftHSM does not see its tokens again in this process.
  it('ends with E_HSM when the token is pulled out, and stays so when it comes back', async () => {
    const { lost } = key.token ?? {};
    const before = await key.sign(utf8('there'));
    expect(before.length).toBe(64);
    await hsm.pull();
    expect(await codeOf(key.sign(utf8('gone')))).toBe('E_HSM');
    expect(lost?.aborted).toBe(true);
    expect(lost?.reason).toMatchObject({ code: 'E_HSM' });
    expect(await codeOf(opened())).toBe('E_HSM');
    await hsm.putBack();
    expect(await codeOf(key.sign(utf8('back')))).toBe('E_HSM');
  });
});

it('says what to install where the module or the package is missing', async () => {
  const place = { module: '/no/such/module.so', label: 'x', pin: { file: '/none', refusal: '/none' } };
  await expect(createTokenKey(place, 'x', { attended: true })).rejects.toMatchObject({ code: 'E_CONFIG' });
});
