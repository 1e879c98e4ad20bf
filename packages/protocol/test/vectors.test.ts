import { readFileSync } from 'node:fs';
import { encodeCbor, fromHex, toHex } from '@millrace/base';
import { keyName, userKey } from '@millrace/identity';
import { describe, expect, it } from 'vitest';
import {
  documentHash,
  materialText,
  parseMaterialText,
  registrationHash,
  type SignedDirectory,
  signDirectory,
  verifyCredential,
  verifyDirectory,
  verifyMachineRegistration,
  verifyMaterial,
  verifyMembership,
  verifyPermitKey,
} from '../src/index.ts';

// Written by scripts/make-vectors.mjs. A change of these bytes is a change of the format.
const read = <T>(name: string): T =>
  JSON.parse(readFileSync(new URL(`../../../vectors/protocol/${name}.json`, import.meta.url), 'utf8')) as T;

interface Anchored {
  readonly anchor: { readonly installation: string; readonly adminKey: string };
  readonly secrets: { readonly administrator: string };
}

describe('vectors of the directory', () => {
  const { anchor, secrets, accepted, refused } = read<
    Anchored & {
      accepted: { what: string; cbor: string; hash: string; signed: SignedDirectory }[];
      refused: { what: string; signed: unknown }[];
    }
  >('directory');

  it.each(accepted)('accepted: $what', async ({ cbor, hash, signed }) => {
    const document = verifyDirectory(signed, anchor);
    expect(toHex(encodeCbor(document))).toBe(cbor);
    expect(toHex(documentHash(document))).toBe(hash);
    expect(await signDirectory(userKey(fromHex(secrets.administrator)), document)).toEqual(signed);
  });

  it.each(refused)('refused: $what', ({ signed }) => {
    expect(() => verifyDirectory(signed, anchor)).toThrow(expect.objectContaining({ code: 'E_DIRECTORY' }));
  });
});

describe('vectors of registrations', () => {
  type Kind = 'user' | 'machine' | 'permitKey';
  const vectors = read<
    Anchored &
      Record<Kind, { publicKey: string; document: string }> & {
        machine: { machine: string; serial: string; hash: string };
        refused: { what: string; as: Kind; code: string; document: string }[];
      }
  >('registrations');
  const verify = { user: verifyCredential, machine: verifyMachineRegistration, permitKey: verifyPermitKey };

  it('accepted: a user, a machine, a permit key', async () => {
    const { anchor, user, machine, permitKey } = vectors;
    expect(toHex((await verifyCredential(fromHex(user.document), anchor)).publicKey)).toBe(user.publicKey);
    expect(toHex(await verifyPermitKey(fromHex(permitKey.document), anchor))).toBe(permitKey.publicKey);
    const registered = await verifyMachineRegistration(fromHex(machine.document), anchor);
    expect(registered).toMatchObject({ machine: machine.machine, serial: machine.serial });
    expect(toHex(registered.publicKey)).toBe(machine.publicKey);
    expect(toHex(registrationHash(registered))).toBe(machine.hash);
  });

  it.each(vectors.refused)('refused: $what', async ({ as, code, document }) => {
    await expect(verify[as](fromHex(document), vectors.anchor)).rejects.toMatchObject({ code });
  });
});

describe('vectors of material certificates', () => {
  const vectors = read<{
    anchor: Anchored['anchor'];
    certificate: string;
    text: string;
    supplier: string;
    organisation: string;
    key: string;
    refused: { what: string; code: string; certificate: string; supplier: string }[];
  }>('materials');

  it('accepted: a spool of a supplier, and its code', async () => {
    const certificate = fromHex(vectors.certificate);
    const { supplier } = await verifyMaterial(certificate, fromHex(vectors.supplier), vectors.anchor);
    expect([supplier.organisation, supplier.key]).toEqual([vectors.organisation, vectors.key]);
    expect(materialText(certificate)).toBe(vectors.text);
    expect(parseMaterialText(vectors.text)).toEqual(certificate);
  });

  it.each(vectors.refused)('refused: $what', async ({ code, certificate, supplier }) => {
    await expect(verifyMaterial(fromHex(certificate), fromHex(supplier), vectors.anchor)).rejects.toMatchObject({
      code,
    });
  });
});

describe('vectors of groups', () => {
  interface Shown {
    readonly statement: string;
    readonly credential: string;
    readonly assignment: string;
  }
  const vectors = read<{
    anchor: Anchored['anchor'];
    machine: string;
    registration: string;
    organisation: string;
    group: string;
    signer: string;
    accepted: Shown;
    refused: (Shown & { what: string; code: string })[];
  }>('groups');
  const verify = ({ statement, credential, assignment }: Shown) =>
    verifyMembership(
      {
        statement: { transaction: fromHex(statement), credential: fromHex(credential) },
        assignment: fromHex(assignment),
      },
      { machine: vectors.machine, registration: fromHex(vectors.registration) },
      vectors.anchor,
    );

  it('accepted: a machine in a site', async () => {
    const { group } = await verify(vectors.accepted);
    expect(group.body).toMatchObject({ group: vectors.group, organisation: vectors.organisation, kind: 'site' });
    expect(keyName(group.signatory.publicKey)).toBe(vectors.signer);
  });

  it.each(vectors.refused)('refused: $what', async ({ code, ...shown }) => {
    await expect(verify(shown)).rejects.toMatchObject({ code });
  });
});
