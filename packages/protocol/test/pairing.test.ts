import { type Bytes, systemRandom, toHex, wipe } from '@millrace/base';
import {
  createTlsKey,
  generateP256Key,
  generateUserKey,
  keyName,
  type MemorySigner,
  tlsPublicKey,
} from '@millrace/identity';
import { createPeople } from '@millrace/testkit/protocol/people';
import { describe, expect, it } from 'vitest';
import {
  ADMIT_WITHIN_MS,
  CLOCK_SKEW_MS,
  makeAnswer,
  makeOffer,
  newPairingCode,
  openAnswer,
  openOffer,
  type Pairing,
  pairingKeys,
  readAnswer,
  signPairing,
  verifyPairing,
} from '../src/index.ts';

const now = 1_800_000_000_000;
const admin = generateUserKey();
const installation = 'a1'.repeat(16);
const directory = { installation, adminKey: toHex(admin.publicKey) };

function agent() {
  const identity = generateP256Key();
  const tls = createTlsKey();
  const tlsKey = tlsPublicKey(tls);
  wipe(tls);
  return { identity, tlsKey };
}

async function offered(code: string) {
  const keys = await pairingKeys(code);
  const { identity, tlsKey } = agent();
  const offer = await makeOffer(keys, identity, { tlsKey, expires: now + 60_000 });
  return { keys, identity, tlsKey, offer };
}

const pairingOf = (publicKey: Bytes, tlsKey: Bytes): Pairing => ({
  ...{ type: 'machine.pair', id: systemRandom(16), issued: now, expires: now + ADMIT_WITHIN_MS, name: 'mk3', tlsKey },
  machine: { machine: keyName(publicKey), publicKey, serial: 'S-1', kind: 'marlin', profile: { factor: 1 } },
  ...{ material: 'PLA', driver: '{"port":"/dev/ttyUSB0"}' },
});

const distribution = { host: 'cloud.example', port: 7602 };
const answerWith = (document: Bytes, credential: Bytes = new Uint8Array()) => ({
  ...directory,
  ...{ directory: 3, distribution, document, credential },
});

describe('pairing codes', () => {
  it('have 80 random bits in 16 characters without ambiguous letters', async () => {
    const codes = new Set(Array.from({ length: 50 }, () => newPairingCode(systemRandom)));
    expect(codes.size).toBe(50);
    for (const code of codes) expect(code).toMatch(/^([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}$/);
    expect(newPairingCode((length) => new Uint8Array(length).fill(0xff))).toBe('ZZZZ-ZZZZ-ZZZZ-ZZZZ');
  });

  it('are accepted in lower case, without hyphens, and with letters that people confuse', async () => {
    const keys = await pairingKeys('10AB-CD10-0000-1111');
    expect(await pairingKeys('ioab cdlo oooo lili')).toEqual(keys);
    await expect(pairingKeys('10AB-CD10-0000-111')).rejects.toMatchObject({ code: 'E_INPUT' });
    await expect(pairingKeys('10AB-CD10-0000-111U')).rejects.toMatchObject({ code: 'E_INPUT' });
    expect(new Set([keys.id, toHex(keys.agent.slice(0, 16)), toHex(keys.operator.slice(0, 16))]).size).toBe(3);
  });
});

describe('an offer', () => {
  it('gives the operator the agent’s keys', async () => {
    const { keys, identity, tlsKey, offer } = await offered(newPairingCode(systemRandom));
    const opened = openOffer(keys, offer, now);
    expect(opened.publicKey).toEqual(identity.publicKey);
    expect(opened.tlsKey).toEqual(tlsKey);
  });

  it('is refused if whoever carries it puts other keys in it', async () => {
    const { keys } = await offered(newPairingCode(systemRandom));
    // Control knows the id, not the code.
    const swapped = await offered(newPairingCode(systemRandom));
    expect(() => openOffer(keys, swapped.offer, now)).toThrow(expect.objectContaining({ code: 'E_AUTH' }));
  });

  it('is refused with any bit changed', async () => {
    const { keys, offer } = await offered(newPairingCode(systemRandom));
    for (let at = 0; at < offer.length; at += 7) {
      const changed = Uint8Array.from(offer, (byte, i) => (i === at ? byte ^ 1 : byte));
      expect(() => openOffer(keys, changed, now)).toThrow();
    }
  });

  it('is refused when the code has expired', async () => {
    const { keys, offer } = await offered(newPairingCode(systemRandom));
    expect(() => openOffer(keys, offer, now + 60_001 + CLOCK_SKEW_MS)).toThrow(
      expect.objectContaining({ code: 'E_EXPIRED' }),
    );
  });

  it('needs the key that it offers', async () => {
    const keys = await pairingKeys(newPairingCode(systemRandom));
    const [own, other] = [agent(), agent()];
    const stolen = { ...own.identity, publicKey: other.identity.publicKey };
    const offer = await makeOffer(keys, stolen, { tlsKey: own.tlsKey, expires: now });
    expect(() => openOffer(keys, offer, now)).toThrow(expect.objectContaining({ code: 'E_SIGNATURE' }));
  });
});

describe('an answer', () => {
  it('tells the agent which cloud to trust and who entered the code', async () => {
    const { keys, identity, tlsKey, offer } = await offered(newPairingCode(systemRandom));
    const document = await signPairing(admin, installation, pairingOf(identity.publicKey, tlsKey));
    const answer = makeAnswer(keys, offer, answerWith(document));
    const opened = openAnswer(keys, offer, answer);
    expect(opened).toMatchObject({ ...directory, distribution, directory: 3 });
    expect(readAnswer(answer)).toEqual(opened);
    const { pairing, by } = await verifyPairing(opened, opened, now);
    expect(pairing.machine.machine).toBe(keyName(identity.publicKey));
    expect(by.name).toBe('the administrator');
  });

  it('is refused without the code, and for another offer', async () => {
    const { keys, identity, tlsKey, offer } = await offered(newPairingCode(systemRandom));
    const other = await offered(newPairingCode(systemRandom));
    const document = await signPairing(admin, installation, pairingOf(identity.publicKey, tlsKey));
    const refused = expect.objectContaining({ code: 'E_AUTH' });
    expect(() => openAnswer(keys, offer, makeAnswer(other.keys, offer, answerWith(document)))).toThrow(refused);
    expect(() => openAnswer(keys, offer, makeAnswer(keys, other.offer, answerWith(document)))).toThrow(refused);
    // A message of the agent is not an answer of the operator.
    const reflected = makeAnswer({ operator: keys.agent }, offer, answerWith(document));
    expect(() => openAnswer(keys, offer, reflected)).toThrow(refused);
  });
});

describe('a signed pairing', () => {
  const people = createPeople({ admin, installation, now: () => now });
  const signed = async (signer: MemorySigner, credential: Bytes, change: Partial<Pairing> = {}) => {
    const { identity, tlsKey } = agent();
    const document = await signPairing(signer, installation, { ...pairingOf(identity.publicKey, tlsKey), ...change });
    return { document, credential };
  };

  it('counts when an operator of any organisation signs it, and names the organisation', async () => {
    const bureau = await people.organisation('Bureau', 'bureau');
    const { key, credential } = await people.person(bureau, 'Bea', ['operator']);
    const { by } = await verifyPairing(await signed(key, credential), directory, now);
    expect(by).toEqual({ key: keyName(key.publicKey), name: 'Bea', organisation: 'Bureau' });
  });

  it('does not count when somebody else signs it', async () => {
    const brand = await people.organisation('Brand', 'brand');
    const designer = await people.person(brand, 'Ann', ['designer']);
    const operator = await people.person(brand, 'Otto', ['operator']);
    const stranger = generateUserKey();
    const outcome = async (signer: MemorySigner, credential: Bytes, change?: Partial<Pairing>) =>
      verifyPairing(await signed(signer, credential, change), directory, now).then(
        () => 'counts',
        (error: { code: string }) => error.code,
      );
    expect(await outcome(designer.key, designer.credential)).toBe('E_FORBIDDEN');
    expect(await outcome(stranger, operator.credential)).toBe('E_AUTH');
    expect(await outcome(stranger, new Uint8Array())).toBe('E_AUTH');
    expect(await outcome(operator.key, operator.credential, { expires: now - CLOCK_SKEW_MS - 1 })).toBe('E_EXPIRED');
    const other = generateP256Key().publicKey;
    const machine = { ...pairingOf(other, new Uint8Array(91)).machine, machine: 'ab'.repeat(16) };
    expect(await outcome(operator.key, operator.credential, { machine })).toBe('E_MACHINE_UNKNOWN');
    expect(await outcome(operator.key, operator.credential)).toBe('counts');
  });

  it('does not count at another cloud', async () => {
    const { document, credential } = await signed(admin, new Uint8Array());
    const elsewhere = { ...directory, installation: 'b2'.repeat(16) };
    await expect(verifyPairing({ document, credential }, elsewhere, now)).rejects.toMatchObject({
      code: 'E_SIGNATURE',
    });
  });
});
