import { systemRandom } from '@millrace/base';
import { keyName, type MemorySigner } from '@millrace/identity';
import { createTwoClouds, createVisit, type OtherCloud } from '@millrace/testkit/protocol/federation';
import { samplePla } from '@millrace/testkit/protocol/material';
import { createPeople, type TestPerson } from '@millrace/testkit/protocol/people';
import {
  codeOf,
  createOpening,
  dated,
  NOW,
  type ProtocolFixture,
  registerKey,
} from '@millrace/testkit/protocol/support';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Admission, sha256, signTransaction, type Transaction, verifyOpening } from '../src/index.ts';

// A licence of one cloud wants a material that a supplier certifies. The machine and its spool are at another cloud.
// Operator and supplier have the same keys at both. Whoever forges here has real keys of the machine's cloud.

let here: ProtocolFixture;
let there: OtherCloud;
let acme: string;
let carla: TestPerson;
let rita: TestPerson;
beforeAll(async () => {
  ({ here, there } = await createTwoClouds());
  const people = createPeople({ admin: here.keys.admin, installation: here.directory.installation, now: () => NOW });
  const supplier = await people.organisation('ACME', 'supplier');
  acme = supplier.organisation;
  carla = await people.person(supplier, 'Carla', ['certifier']);
  rita = await people.person(await people.organisation('Rival', 'supplier'), 'Rita', ['certifier']);
});

interface Spool {
  readonly supplier?: MemorySigner;
  readonly operator?: MemorySigner;
  /** The cloud for which both sign. */
  readonly at?: string;
  readonly machine?: string;
  readonly material?: Parameters<typeof samplePla>[1];
}

/** `spool.load`, as an operator signs it at the machine's cloud. */
async function load({ supplier = carla.key, operator = here.keys.holder, ...changes }: Spool = {}) {
  const { at = there.directory.installation, machine = here.machine.machine, material } = changes;
  const sign = (by: MemorySigner, body: object) => signTransaction(by, at, { ...dated(), ...body } as Transaction);
  const certificate = await sign(supplier, { type: 'material.certify', ...samplePla(NOW, material) });
  return sign(operator, { type: 'spool.load', machine, number: NOW, certificate });
}

interface Shown {
  readonly load?: Uint8Array<ArrayBuffer> | undefined;
  /** As the visa names it. */
  readonly named?: Uint8Array<ArrayBuffer> | undefined;
  readonly signers?: Admission['signers'];
}

const honest = async (): Promise<NonNullable<Admission['signers']>> => ({
  operator: await registerKey(here.keys.admin, here.directory.installation, here.keys.holder.publicKey),
  supplier: carla.credential,
});

const wanted = () => ({ materials: [{ name: 'PLA', suppliers: [acme] }] });

async function visit(shown: Shown, licence: object = wanted()) {
  const { load: stated, named = stated, signers } = shown;
  return createVisit(here, there, {
    licence,
    asked: stated === undefined ? {} : { load: stated },
    visa: named === undefined ? {} : { load: sha256(named) },
    signers,
  });
}

const context = (changes: { begun?: boolean; revoked?: string } = {}) => ({
  directory: {
    ...here.directory,
    ...(changes.revoked !== undefined && {
      revocations: {
        of: (name: string) => (name === changes.revoked ? [{ name, at: 1, kept: new Set<string>() }] : []),
      },
    }),
  },
  now: NOW,
  designOf: async () => ({ owner: here.keys.owner.publicKey, coreHash: here.coreHash }),
  begun: async () => changes.begun ?? false,
  credits: async () => 0,
});
const outcome = async (shown: Shown, licence?: object, changes = {}) =>
  codeOf(async () => verifyOpening((await visit(shown, licence)) as never, context(changes) as never));

describe('a certified material on a machine of another cloud', () => {
  it('is accepted by the signatures of the licensed supplier and of the holder, for the machine’s cloud', async () => {
    const opening = await visit({ load: await load(), signers: await honest() });
    const { spool } = await verifyOpening(opening, context() as never);
    expect(spool).toMatchObject({ name: 'PLA', serial: 'AC-000017', cloud: there.directory.installation });
    expect(spool?.certified?.supplier).toMatchObject({ name: 'ACME', organisation: acme });
    expect(spool?.operator.key).toBe(keyName(here.keys.holder.publicKey));
  });

  it('is not asked for by a licence that any supplier satisfies, and the spool is not verified', async () => {
    expect(await outcome({}, {})).toBe('nothing thrown');
    expect(await outcome({ load: await load({ supplier: rita.key }) }, {})).toBe('nothing thrown');
    expect(await outcome({}, { materials: ['PLA', ...wanted().materials] })).toBe('nothing thrown');
  });

  it('is refused without a spool, without its signers, and of another supplier or material', async () => {
    const signers = await honest();
    expect(await outcome({ signers })).toBe('E_MATERIAL');
    expect(await outcome({ load: await load() })).toBe('E_MATERIAL');
    const rival = await load({ supplier: rita.key });
    expect(await outcome({ load: rival, signers: { ...signers, supplier: rita.credential } })).toBe('E_MATERIAL');
    expect(await outcome({ load: rival, signers })).toBe('E_MATERIAL');
    expect(await outcome({ load: await load({ material: { name: 'ABS' } }), signers })).toBe('E_MATERIAL');
    expect(await outcome({ load: await load({ material: { until: 1 } }), signers })).toBe('E_MATERIAL');
  });

  it('is not forged by the machine’s cloud: neither by its administrator nor with a namesake of the supplier', async () => {
    const signers = await honest();
    const { admin } = there.keys;
    const { installation } = there.directory;
    for (const forged of [await load({ operator: admin }), await load({ supplier: admin })])
      expect(await outcome({ load: forged, signers })).toBe('E_MATERIAL');
    // That administrator registers an organisation with the supplier's identifier, and enrols its own certifier.
    const people = createPeople({ admin, installation, now: () => NOW });
    const document = await people.sign(admin, {
      type: 'organisation.register',
      ...{ organisation: acme, name: 'ACME', kinds: ['supplier'] },
    });
    const impostor = await people.person({ organisation: acme, name: 'ACME', document }, 'Carla', ['certifier']);
    const spool = await load({ supplier: impostor.key });
    for (const supplier of [impostor.credential, carla.credential])
      expect(await outcome({ load: spool, signers: { ...signers, supplier } })).toBe('E_MATERIAL');
    // Nor does its administrator vouch for an operator.
    const operator = await registerKey(admin, installation, here.keys.holder.publicKey);
    expect(await outcome({ load: await load(), signers: { ...signers, operator } })).toBe('E_MATERIAL');
  });

  it('is refused if somebody else than the holder has loaded it, for another machine, or for another cloud', async () => {
    const signers = await honest();
    const operator = await registerKey(here.keys.admin, here.directory.installation, here.keys.owner.publicKey);
    const other = await load({ operator: here.keys.owner });
    expect(await outcome({ load: other, signers: { ...signers, operator } })).toBe('E_MATERIAL');
    expect(await outcome({ load: await load({ machine: 'ab'.repeat(16) }), signers })).toBe('E_MATERIAL');
    expect(await outcome({ load: await load({ at: here.directory.installation }), signers })).toBe('E_MATERIAL');
  });

  it('is refused if the machine’s cloud names another statement: the spool has moved since', async () => {
    const [older, newer, signers] = [await load(), await load(), await honest()];
    expect(await outcome({ load: older, named: newer, signers })).toBe('E_MATERIAL');
    const opening = await visit({ load: older, named: newer, signers });
    expect(await codeOf(() => verifyOpening(opening, context({ begun: true }) as never))).toBe('nothing thrown');
    const unnamed = await createVisit(here, there, { licence: wanted(), asked: { load: older }, signers });
    expect(await codeOf(() => verifyOpening(unnamed, context() as never))).toBe('E_MATERIAL');
  });

  it('is refused by a revocation at the design’s cloud, and what has begun is finished', async () => {
    const shown = { load: await load(), signers: await honest() };
    const revoked = keyName(carla.key.publicKey);
    expect(await outcome(shown, undefined, { revoked })).toBe('E_MATERIAL');
    expect(await outcome(shown, undefined, { revoked, begun: true })).toBe('nothing thrown');
  });

  it('has one way to be stated at each cloud', async () => {
    const { operator, supplier } = await honest();
    const stated = await load();
    const request = { spool: { load: stated, operator, supplier } } as never;
    const visiting = await createVisit(here, there, { licence: wanted(), asked: request });
    expect(await codeOf(() => verifyOpening(visiting, context() as never))).toBe('E_MATERIAL');
    const own = await createOpening(here, { request: { load: stated, run: systemRandom(16) } });
    expect(await codeOf(() => verifyOpening(own, context() as never))).toBe('E_MATERIAL');
  });
});
