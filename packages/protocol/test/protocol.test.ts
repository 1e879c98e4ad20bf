import { concatBytes, systemRandom, u32be, utf8 } from '@millrace/base';
import { generateP256Key, generateUserKey, keyId } from '@millrace/identity';
import {
  type Changes,
  codeOf,
  createOpening,
  createProtocolFixture,
  dated,
  NOW,
} from '@millrace/testkit/protocol/support';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  acceptSession,
  decodeKey,
  decodeLink,
  encodeControl,
  encodeKey,
  encodeStream,
  mixSecret,
  objectId,
  objectName,
  offerSession,
  openTelemetry,
  type StreamParameters,
  sealTelemetry,
  signTransaction,
  type Telemetry,
  verifyOpening,
  verifyTransaction,
} from '../src/index.ts';

const fixture = createProtocolFixture();
const { keys, directory } = fixture;
const designOf = async () => ({ owner: keys.owner.publicKey, coreHash: fixture.coreHash });
/** The input for a node that has no record of the object. */
const first = { directory, now: NOW, designOf, begun: async () => false, credits: async () => 0 };
const verify = async (changes: Changes) =>
  codeOf(async () => verifyOpening(await createOpening(fixture, changes), first));

describe('signed documents', () => {
  const holderOnly = (id: Uint8Array) =>
    Buffer.compare(id, keyId(keys.holder.publicKey)) === 0 ? keys.holder.publicKey : undefined;
  const print = () => ({
    type: 'print.request' as const,
    ...dated(),
    licence: '00'.repeat(16),
    machine: '00'.repeat(16),
  });

  it('verify for their installation, signer and time only', async () => {
    const signed = await signTransaction(keys.holder, directory.installation, print());
    const at = (installation: string, now: number, lookup = holderOnly) =>
      codeOf(() => verifyTransaction(signed, installation, lookup, now));
    expect(await at(directory.installation, NOW)).toBe('nothing thrown');
    expect(await at('ff'.repeat(16), NOW)).toBe('E_SIGNATURE');
    expect(await at(directory.installation, NOW + 10 * 3_600_000)).toBe('E_EXPIRED');
    expect(await at(directory.installation, NOW - 10 * 3_600_000)).toBe('E_CLOCK');
    // A clock that is off by an hour makes no difference.
    expect(await at(directory.installation, NOW + 3_600_000)).toBe('nothing thrown');
    expect(await at(directory.installation, NOW - 3_600_000)).toBe('nothing thrown');
    expect(await at(directory.installation, NOW, () => undefined)).toBe('E_AUTH');
    expect(await at(directory.installation, NOW, () => keys.owner.publicKey)).toBe('E_SIGNATURE');
  });

  it('are rejected after a change of any byte', async () => {
    const signed = await signTransaction(keys.holder, directory.installation, print());
    for (let at = 0; at < signed.length; at++) {
      const changed = signed.slice();
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      const outcome = await codeOf(() => verifyTransaction(changed, directory.installation, holderOnly, NOW));
      expect(['E_SIGNATURE', 'E_AUTH'], `byte ${at}: ${outcome}`).toContain(outcome);
    }
  });

  it('are rejected with unknown fields or wrong types', async () => {
    for (const wrong of [{ ...print(), more: 1 }, { ...print(), machine: 7 }, { ...print(), type: 'print' }, {}, 7]) {
      const signed = await signTransaction(keys.holder, directory.installation, wrong as never);
      expect(await codeOf(() => verifyTransaction(signed, directory.installation, holderOnly, NOW))).toBe('E_INPUT');
    }
  });
});

describe('an object name', () => {
  const licence = '0123456789abcdef'.repeat(2);

  it('is its licence and a number', () => {
    for (const number of [1, 10, 9_999_999]) expect(objectName.parse(objectId(licence, number))).toBeDefined();
  });

  it.each(['', '../x', `${licence}-0`, `${licence}-01`, `${licence}-1/..`, `${licence}-1\n`, `${licence}-10000000`])(
    'rejects %j',
    (name) => expect(objectName.safeParse(name).success).toBe(false),
  );
});

describe('an opening', () => {
  it('is accepted when every link of the chain verifies', async () => {
    const opening = await createOpening(fixture);
    const verified = await verifyOpening(opening, first);
    expect(verified.permit.number).toBe(1);
    expect(verified.hash).toHaveLength(32);
  });

  it.each<[string, string, Changes]>([
    ['a licence by somebody else', 'E_AUTH', { signLicence: generateUserKey() }],
    ['a licence for another content', 'E_LICENCE_INVALID', { licence: { core: new Uint8Array(32) } }],
    ['a print by somebody else', 'E_AUTH', { signPrint: keys.owner }],
    ['a request by another machine', 'E_AUTH', { signRequest: generateP256Key() }],
    ['a permit by somebody else', 'E_AUTH', { signPermit: generateP256Key() }],
    ['an object beyond the licence', 'E_LICENCE_EXHAUSTED', { permit: { number: 3 } }],
    ['an object of another name', 'E_PERMIT', { permit: { object: 'x-1' } }],
    ['a permit of another licence', 'E_PERMIT', { permit: { licence: '11'.repeat(16) } }],
    ['a permit of another print', 'E_PERMIT', { permit: { print: '11'.repeat(16) } }],
    ['a permit for another machine', 'E_PERMIT', { permit: { machine: '11'.repeat(16) } }],
    ['a print on another machine', 'E_PERMIT', { print: { machine: '11'.repeat(16) } }],
    ['a request of another print', 'E_PERMIT', { request: { print: '11'.repeat(16) } }],
    ['another material', 'E_MATERIAL', { request: { material: 'PETG' } }],
    ['another serial number', 'E_MACHINE_UNKNOWN', { request: { serial: 'SN-2' } }],
    [
      'a machine that the licence does not name',
      'E_LICENCE_INVALID',
      { licence: { machines: [{ machine: '11'.repeat(16), registration: new Uint8Array(32) }] } },
    ],
    ['a faster profile than the licence names', 'E_LICENCE_INVALID', { machine: { profile: { factor: 1_000 } } }],
    ['a machine of another key', 'E_MACHINE_UNKNOWN', { machine: { publicKey: keys.permit.publicKey } }],
  ])('is rejected for %s: %s', async (_what, code, changes) => {
    expect(await verify(changes)).toBe(code);
  });

  const HOUR = 3_600_000;
  /** For a print signed at NOW for 24 hours, on a licence for an hour, with a fresh request and permit at `now`. */
  const later = async (now: number, options: { begun: boolean; notBefore?: number; notAfter?: number }) => {
    const { begun, ...times } = options;
    const fresh = { issued: now, expires: now + 600_000 };
    const opening = await createOpening(fixture, {
      licence: { notBefore: NOW, notAfter: NOW + HOUR, ...times },
      print: { expires: NOW + 24 * HOUR },
      request: fresh,
      permit: fresh,
    });
    return codeOf(() => verifyOpening(opening, { ...first, now, begun: async () => begun }));
  };

  it('stays valid for a started object, however long the print takes', async () => {
    expect(await later(NOW + 30 * HOUR, { begun: true })).toBe('nothing thrown');
    expect(await later(NOW + 30 * HOUR, { begun: false })).toBe('E_EXPIRED');
  });

  it('is rejected for a new object once its print has expired, not before', async () => {
    expect(await later(NOW + 23 * HOUR, { begun: false, notAfter: NOW + 99 * HOUR })).toBe('nothing thrown');
    expect(await later(NOW + 26 * HOUR, { begun: false, notAfter: NOW + 99 * HOUR })).toBe('E_EXPIRED');
  });

  it('is rejected for a new object before and after the validity of its licence', async () => {
    expect(await later(NOW, { begun: false, notBefore: NOW + 2 * HOUR })).toBe('E_LICENCE_INVALID');
    expect(await later(NOW + 3 * HOUR, { begun: false })).toBe('E_EXPIRED');
    // A clock that is off by an hour makes no difference.
    expect(await later(NOW, { begun: false, notBefore: NOW + HOUR })).toBe('nothing thrown');
    expect(await later(NOW + 2 * HOUR, { begun: false })).toBe('nothing thrown');
  });

  it('is rejected when a document is replaced by another valid one', async () => {
    const [one, two] = [await createOpening(fixture), await createOpening(fixture)];
    const check = (opening: typeof one) => codeOf(() => verifyOpening(opening, first));
    expect(await check({ ...one, request: two.request })).toBe('E_PERMIT');
    expect(await check({ ...one, print: two.print })).toBe('E_PERMIT');
    expect(await check({ ...one, licence: two.licence })).toBe('E_PERMIT');
    expect(await check({ ...one, permit: two.permit })).toBe('E_PERMIT');
    expect(await codeOf(() => verifyOpening(one, { ...first, designOf: async () => undefined }))).toBe('E_NOT_FOUND');
  });
});

describe('a session', () => {
  const parameters: StreamParameters = {
    object: 'o-1',
    design: fixture.design,
    designNonce: new Uint8Array(16),
    segments: 3,
    from: 0,
    size: 40_000,
    window: 4,
    order: 16,
    suite: 'keccak256',
    hints: 'dense',
    layer: 'ctr',
    revisionMs: 1_000,
  };
  const setUp = async () => {
    const binding = { openingHash: systemRandom(32), session: systemRandom(16), licence: 'l', serial: 'SN-1' };
    const side = await offerSession({
      binding,
      machineStatic: keys.machine.publicKey,
      machineEphemeral: keys.ephemeral.publicKey,
      licenceSecret: systemRandom(32),
      parameters,
      sender: keys.keys,
      core: utf8('core'),
      designSecret: undefined,
    });
    return { binding, side };
  };

  it('gives both ends the same seed and opens keys in order', async () => {
    const { binding, side } = await setUp();
    const machine = await acceptSession({
      binding,
      offer: side.offer,
      machineKey: keys.machine,
      ephemeral: keys.ephemeral,
      sender: keys.keys.publicKey,
    });
    expect(machine.seed).toEqual(side.seed);
    expect(machine.core).toEqual(utf8('core'));
    expect(machine.designSecret).toBeUndefined();
    expect(machine.parameters).toEqual(parameters);
    const key = encodeKey(7, await side.context.seal(systemRandom(64), u32be(7)));
    const { segment, sealed } = decodeKey(key);
    expect(segment).toBe(7);
    expect(await machine.context.open(sealed, u32be(7))).toHaveLength(64);
  });

  it('opens for no other machine, serial number, opening, session or ephemeral key, and no other node', async () => {
    const { binding, side } = await setUp();
    const attempt = (changes: object, options = {}) =>
      codeOf(() =>
        acceptSession({
          binding: { ...binding, ...changes },
          offer: side.offer,
          machineKey: keys.machine,
          ephemeral: keys.ephemeral,
          sender: keys.keys.publicKey,
          ...options,
        }),
      );
    expect(await attempt({}, { machineKey: generateP256Key() })).toBe('E_SEAL');
    expect(await attempt({}, { ephemeral: generateP256Key() })).toBe('E_SEAL');
    // An attacker with the links but without the keys node's key: its own point makes no session.
    expect(await attempt({}, { sender: keys.distribution.publicKey })).toBe('E_SEAL');
    expect(await attempt({ openingHash: systemRandom(32) })).toBe('E_SEAL');
    expect(await attempt({ session: systemRandom(16) })).toBe('E_SEAL');
    const other = await acceptSession({
      binding: { ...binding, serial: 'SN-2' },
      offer: side.offer,
      machineKey: keys.machine,
      ephemeral: keys.ephemeral,
      sender: keys.keys.publicKey,
    });
    expect(other.seed).not.toEqual(side.seed); // the serial number is context of the seed
  });

  it('mixes differently for every revision and session', () => {
    const shared = systemRandom(32);
    const seen = new Set(
      [1n, 2n].flatMap((revision) =>
        [1, 2].map((id) => mixSecret(new Uint8Array(16).fill(id), revision, shared).join()),
      ),
    );
    expect(seen.size).toBe(4);
  });
});

describe('links and telemetry', () => {
  it('decode any bytes to a message or one error code', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.boolean(), (bytes, addressed) => {
        try {
          decodeLink(bytes, addressed);
        } catch (error) {
          expect((error as { code: string }).code).toBe('E_INPUT');
        }
      }),
    );
  });

  it('round-trip', () => {
    const session = systemRandom(16);
    expect(decodeLink(encodeStream('frame', utf8('abc'), session), true)).toEqual({
      kind: 'frame',
      session,
      payload: utf8('abc'),
    });
    expect(decodeLink(encodeStream('key', utf8('abc')), false)).toMatchObject({ kind: 'key', payload: utf8('abc') });
    const end = { type: 'end' as const, session, code: 'E_ALARM', reason: 'x' };
    expect(decodeLink(encodeControl(end), true)).toEqual({ kind: 'control', message: end });
  });

  it('telemetry round-trips and rejects any change', () => {
    const key = systemRandom(32);
    fc.assert(
      fc.property(
        fc.nat(1_000_000),
        fc.array(fc.nat(5_000), { maxLength: 9 }),
        fc.nat(0xffff),
        (acked, resend, frame) => {
          const telemetry: Telemetry = { acked, ready: 5n, ...(resend.length > 0 ? { resend } : {}) };
          const cell = sealTelemetry(key, frame, telemetry);
          expect(openTelemetry(key, frame, cell)).toEqual(telemetry);
          expect(() => openTelemetry(key, frame + 1, cell)).toThrow();
          const changed = concatBytes(cell);
          changed[frame % (cell.length - 2)] = (changed[frame % (cell.length - 2)] ?? 0) ^ 1;
          expect(() => openTelemetry(key, frame, changed)).toThrow();
        },
      ),
      { numRuns: 50 },
    );
  });
});
