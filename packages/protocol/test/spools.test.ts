import { systemRandom } from '@millrace/base';
import { generateUserKey } from '@millrace/identity';
import { samplePla } from '@millrace/testkit/protocol/material';
import { createPeople, type TestPerson } from '@millrace/testkit/protocol/people';
import { codeOf, createOpening, createProtocolFixture, NOW } from '@millrace/testkit/protocol/support';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  CLOCK_SKEW_MS,
  documentName,
  encodePublished,
  type LicensedMaterial,
  Revocations,
  requireMaterial,
  type SpoolProof,
  signRevocationList,
  verifyOpening,
  verifySpool,
  withList,
} from '../src/index.ts';

// Every party here uses real keys: of another supplier, of an operator, of the machine.

const fixture = createProtocolFixture();
const { keys, directory, machine } = fixture;
const people = createPeople({ admin: keys.admin, installation: directory.installation, now: () => NOW });

let acme: { organisation: string };
let carla: TestPerson;
let rival: TestPerson;
let otto: TestPerson;
let holder: string;
beforeAll(async () => {
  const supplier = await people.organisation('ACME', 'supplier');
  acme = supplier;
  carla = await people.person(supplier, 'Carla', ['certifier']);
  rival = await people.person(await people.organisation('Rival', 'supplier'), 'Rita', ['certifier']);
  const bureau = await people.organisation('Bureau', 'bureau');
  holder = bureau.organisation;
  otto = await people.person(bureau, 'Otto', ['operator']);
});

interface Making {
  readonly by?: TestPerson;
  readonly operator?: TestPerson;
  readonly material?: Parameters<typeof samplePla>[1];
  readonly on?: string;
  readonly certificate?: Uint8Array<ArrayBuffer>;
}

async function loaded({ by = carla, operator = otto, material = {}, on = machine.machine, ...own }: Making = {}) {
  const certificate =
    own.certificate ?? (await people.sign(by.key, { type: 'material.certify', ...samplePla(NOW, material) }));
  const load = await people.sign(operator.key, { type: 'spool.load', machine: on, number: NOW, certificate });
  return { load, operator: operator.credential, supplier: by.credential } satisfies SpoolProof;
}

async function described(name = 'PLA'): Promise<SpoolProof> {
  const load = { type: 'spool.load', machine: machine.machine, number: NOW, description: { name } } as const;
  return { load: await people.sign(otto.key, load), operator: otto.credential };
}

const certifiedPla = (): LicensedMaterial[] => [{ name: 'PLA', suppliers: [acme.organisation] }];

async function refusal(spool: SpoolProof | undefined, materials = certifiedPla(), changes: object = {}) {
  const context = { directory, now: NOW, begins: true, ...changes };
  const request = { material: 'PLA', ...(spool && { spool }) };
  return codeOf(() => requireMaterial(request, machine, { materials, holder }, context));
}

describe('a licence that names a supplier', () => {
  it('accepts a spool that the supplier certified and an operator loaded', async () => {
    const spool = await verifySpool(await loaded(), machine.machine, directory);
    expect(spool).toMatchObject({ name: 'PLA', serial: 'AC-000017', grams: 1_000 });
    expect(spool.certified?.supplier.name).toBe('ACME');
    expect(spool.operator).toMatchObject({ name: 'Otto', organisationName: 'Bureau' });
    expect(await refusal(await loaded())).toBe('nothing thrown');
    // One of several suppliers, and one material of several.
    const several: LicensedMaterial[] = ['PETG', { name: 'PLA', suppliers: ['ab'.repeat(16), acme.organisation] }];
    expect(await refusal(await loaded(), several)).toBe('nothing thrown');
  });

  it('refuses a number that no later statement would exceed', async () => {
    const at = async (number: number) => {
      const load = { type: 'spool.load', machine: machine.machine, number, description: { name: 'PLA' } } as const;
      const proof = { load: await people.sign(otto.key, load), operator: otto.credential };
      return codeOf(() => verifySpool(proof, machine.machine, directory));
    };
    expect(await at(NOW + CLOCK_SKEW_MS)).toBe('nothing thrown');
    for (const number of [NOW + CLOCK_SKEW_MS + 1, Number.MAX_SAFE_INTEGER]) expect(await at(number)).toBe('E_INPUT');
  });

  it('refuses no spool, a described one, and every certificate that is not the supplier’s', async () => {
    expect(await refusal(undefined)).toBe('E_MATERIAL');
    expect(await refusal(await described())).toBe('E_MATERIAL');
    expect(await refusal(await loaded({ by: rival }))).toBe('E_MATERIAL');
    // The rival's certificate beside ACME's credential, and the other way round.
    const [ours, theirs] = [await loaded(), await loaded({ by: rival })];
    expect(await refusal({ ...theirs, supplier: ours.supplier })).toBe('E_MATERIAL');
    expect(await refusal({ ...ours, supplier: theirs.supplier })).toBe('E_MATERIAL');
    // A key outside of every organisation, enrolled by nobody.
    const stranger = { key: generateUserKey(), credential: carla.credential };
    expect(await refusal(await loaded({ by: stranger }))).toBe('E_MATERIAL');
    // Altered after the supplier signed it.
    const certificate = await people.sign(carla.key, { type: 'material.certify', ...samplePla(NOW) });
    const at = certificate.length - 80;
    certificate[at] = (certificate[at] as number) ^ 1;
    expect(await refusal(await loaded({ certificate }))).toBe('E_MATERIAL');
    // Another material of the same supplier.
    expect(await refusal(await loaded({ material: { name: 'ABS' } }))).toBe('E_MATERIAL');
  });

  it('refuses an expired spool, but finishes what has begun with it', async () => {
    const old = await loaded({ material: { until: NOW - CLOCK_SKEW_MS - 1 } });
    expect(await refusal(old)).toBe('E_MATERIAL');
    expect(await refusal(old, certifiedPla(), { begins: false })).toBe('nothing thrown');
    expect(await refusal(await loaded({ material: { until: NOW - CLOCK_SKEW_MS } }))).toBe('nothing thrown');
  });

  it('refuses the certificates of a revoked key that the revocation does not keep', async () => {
    const proof = await loaded();
    const certificate = await people.sign(carla.key, { type: 'material.certify', ...samplePla(NOW) });
    const kept = await loaded({ certificate });
    const { certified } = await verifySpool(proof, machine.machine, directory);
    const list = await signRevocationList(keys.admin, directory.installation, {
      ...{ type: 'revocations', id: systemRandom(16), issued: NOW, expires: NOW, sequence: 1 },
      entries: [{ key: certified?.supplier.key ?? '', name: 'Carla', at: NOW, kept: [documentName(certificate)] }],
    });
    const revocations = await withList(new Revocations(), encodePublished(list), directory);
    expect(await refusal(proof, certifiedPla(), { directory: { ...directory, revocations } })).toBe('E_MATERIAL');
    expect(await refusal(kept, certifiedPla(), { directory: { ...directory, revocations } })).toBe('nothing thrown');
  });
});

describe('the statement that a spool is loaded', () => {
  it('has to be an operator’s, and of this machine', async () => {
    const designer = await people.person(await people.organisation('Brand', 'brand'), 'Dora', ['designer']);
    expect(await refusal(await loaded({ operator: designer }))).toBe('E_MATERIAL');
    // The supplier cannot say what is loaded, and another operator's credential does not help.
    expect(await refusal(await loaded({ operator: carla }))).toBe('E_MATERIAL');
    expect(await refusal({ ...(await loaded({ operator: designer })), operator: otto.credential })).toBe('E_MATERIAL');
    expect(await refusal(await loaded({ on: 'ab'.repeat(16) }))).toBe('E_MATERIAL');
    // An operator of another bureau does not answer for the holder.
    const foreign = await people.person(await people.organisation('Other bureau', 'bureau'), 'Fred', ['operator']);
    expect(await refusal(await loaded({ operator: foreign }))).toBe('E_MATERIAL');
    expect(await refusal(await loaded({ operator: foreign }), ['PLA'])).toBe('nothing thrown');
  });

  it('is enough for a licence that names a material only, and has to be about that material', async () => {
    expect(await refusal(await described(), ['PLA'])).toBe('nothing thrown');
    expect(await refusal(undefined, ['PLA'])).toBe('nothing thrown');
    expect(await refusal(await loaded(), [])).toBe('nothing thrown');
    // The machine says PLA, its operator loaded ABS.
    expect(await refusal(await described('ABS'), ['PLA', 'ABS'])).toBe('E_MATERIAL');
    // A proof that does not verify does not count, even where none is needed.
    expect(await refusal(await loaded({ on: 'ab'.repeat(16) }), [])).toBe('E_MATERIAL');
  });
});

describe('a proactive node', () => {
  it('verifies the spool with the opening', async () => {
    const context = {
      directory,
      now: NOW,
      designOf: async () => ({ owner: keys.owner.publicKey, coreHash: fixture.coreHash }),
      begun: async () => false,
      credits: async () => 0,
    };
    const registered = { type: 'user.register', publicKey: keys.holder.publicKey, name: 'holder' } as const;
    const operator = { key: keys.holder, credential: await people.sign(keys.admin, registered) };
    const spool = await loaded({ operator });
    const licence = { materials: certifiedPla() };
    const verified = await verifyOpening(await createOpening(fixture, { licence, request: { spool } }), context);
    expect(verified.spool?.certified?.supplier.organisation).toBe(acme.organisation);
    const without = await createOpening(fixture, { licence });
    expect(await codeOf(() => verifyOpening(without, context))).toBe('E_MATERIAL');
    // Control gives the opening another spool than the machine has signed.
    const forged = await createOpening(fixture, { licence, request: { spool: await loaded({ operator, by: rival }) } });
    expect(await codeOf(() => verifyOpening(forged, context))).toBe('E_MATERIAL');
  });
});
