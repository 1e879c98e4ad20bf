import { fromHex, utf8 } from '@millrace/base';
import { samplePla } from '@millrace/testkit/protocol/material';
import { createPeople } from '@millrace/testkit/protocol/people';
import { codeOf, createProtocolFixture, NOW } from '@millrace/testkit/protocol/support';
import { describe, expect, it } from 'vitest';
import {
  fromBase45,
  materialText,
  parseMaterialText,
  requireUnexpired,
  toBase45,
  verifyMaterial,
} from '../src/index.ts';

const DAY = 86_400_000;
const { keys, directory } = createProtocolFixture();
const people = createPeople({ admin: keys.admin, installation: directory.installation, now: () => NOW });
const certify = { type: 'material.certify', ...samplePla(NOW) } as const;

describe('base45', () => {
  it('encodes the examples of RFC 9285', () => {
    for (const [text, coded] of [
      ['AB', 'BB8'],
      ['Hello!!', '%69 VD92EX0'],
      ['base-45', 'UJCLQE7W581'],
      ['ietf!', 'QED8WEX0'],
    ] as const) {
      expect(toBase45(utf8(text))).toBe(coded);
      expect(fromBase45(coded)).toEqual(utf8(text));
    }
  });

  it('refuses what no bytes encode to', async () => {
    for (const text of ['A', 'ABCD', 'GGW', ':::', '::', 'aB8', 'BB8!'])
      expect(await codeOf(() => fromBase45(text)), text).toBe('E_INPUT');
  });
});

describe('a material certificate', () => {
  it('proves supplier and spool to the administrator’s key, and is short enough for a code on the spool', async () => {
    const acme = await people.organisation('ACME', 'supplier');
    const { key, credential } = await people.person(acme, 'Carla', ['certifier']);
    const bytes = await people.sign(key, { ...certify, properties: { colour: 'galaxy black', 'food contact': 'no' } });
    const material = await verifyMaterial(bytes, credential, directory);
    expect(material.supplier).toMatchObject({ organisation: acme.organisation, name: 'ACME', person: 'Carla' });
    expect(material.terms).toMatchObject({ name: 'PLA', grams: 1_000, diameter: 1_750 });
    requireUnexpired(material, NOW + 700 * DAY);
    expect(await codeOf(() => requireUnexpired(material, NOW + 701 * DAY))).toBe('E_MATERIAL');
    const text = materialText(bytes);
    expect(parseMaterialText(`  ${text}\n`)).toEqual(bytes);
    // 758 characters: a QR code of version 17 (85 × 85 modules), error correction M (ISO/IEC 18004, table 7).
    expect(text.length).toBeLessThanOrEqual(758);
    // All of it in the alphanumeric mode.
    expect(text).toMatch(/^[0-9A-Z $%*+\-./:]+$/);
  });

  it('is refused if anybody but a supplier’s certifier signed it', async () => {
    const acme = await people.organisation('ACME', 'supplier');
    const brand = await people.organisation('Brand', 'brand');
    const carla = await people.person(acme, 'Carla', ['certifier']);
    const signed = await people.sign(carla.key, certify);
    const code = async (bytes: Uint8Array, credential: Uint8Array) =>
      codeOf(() => verifyMaterial(bytes, credential, directory));
    for (const person of [
      await people.person(brand, 'Eve', ['certifier']),
      await people.person(acme, 'Otto', ['owner-admin', 'designer', 'operator', 'auditor']),
    ]) {
      expect(await code(await people.sign(person.key, certify), person.credential)).toBe('E_FORBIDDEN');
      // Another person's credential beside Carla's signature.
      expect(await code(signed, person.credential)).toBe('E_FORBIDDEN');
    }
    const other = await people.person(acme, 'Carlo', ['certifier']);
    expect(await code(signed, other.credential)).toBe('E_AUTH');
    const registered = { type: 'user.register', publicKey: keys.owner.publicKey, name: 'owner' } as const;
    const owner = await people.sign(keys.admin, registered);
    expect(await code(await people.sign(keys.owner, certify), owner)).toBe('E_FORBIDDEN');
    // A supplier that another administrator created.
    const stranger = createPeople({ admin: keys.owner, installation: directory.installation, now: () => NOW });
    const fake = await stranger.person(await stranger.organisation('ACME', 'supplier'), 'Mallory', ['certifier']);
    expect(await code(await stranger.sign(fake.key, certify), fake.credential)).toBe('E_AUTH');
    // A certificate of another installation, and a key that had expired.
    const elsewhere = createPeople({ admin: keys.admin, installation: 'ab'.repeat(16), now: () => NOW });
    expect(await code(await elsewhere.sign(carla.key, certify), carla.credential)).toBe('E_SIGNATURE');
    const late = await people.sign(carla.key, certify, { issued: NOW + 101 * DAY });
    expect(await code(late, carla.credential)).toBe('E_EXPIRED');
  });

  it('is refused when a bit of it was changed', async () => {
    const { key, credential } = await people.person(await people.organisation('ACME', 'supplier'), 'C', ['certifier']);
    const bytes = await people.sign(key, certify);
    for (let at = 0; at < bytes.length; at += 7) {
      const altered = bytes.slice();
      altered[at] = (altered[at] as number) ^ 1;
      expect(await codeOf(() => verifyMaterial(altered, credential, directory)), `${at}`).not.toBe('nothing thrown');
    }
    expect(await codeOf(() => verifyMaterial(fromHex('d284'), credential, directory))).toBe('E_SIGNATURE');
  });

  it('of filament has a diameter and a density', async () => {
    const { key } = await people.person(await people.organisation('ACME', 'supplier'), 'C', ['certifier']);
    const { diameter: _, density: __, ...rest } = certify;
    const credential = new Uint8Array();
    const bytes = await people.sign(key, rest);
    expect(await codeOf(() => verifyMaterial(bytes, credential, directory))).toBe('E_INPUT');
  });
});
