import { type Bytes, copyBytes, encodeCbor, fromBase64, systemClock, systemRandom, toBase64 } from '@millrace/base';
import { grantLicence, requestVisit, type Session, signNew } from '@millrace/client';
import { createAuthority, generateP256Key, keyName } from '@millrace/identity';
import { checkPermit } from '@millrace/machine/parts';
import {
  sha256,
  signMachineDocument,
  verifyMachineDocument,
  verifyPermit,
  verifyTransaction,
  verifyVisa,
} from '@millrace/protocol';
import { answerOf, expectTaken, outcomeOf } from '@millrace/testkit/adversary/honest';
import { addOrganisation, joined } from '@millrace/testkit/adversary/members';
import { override } from '@millrace/testkit/adversary/override';
import {
  authorityOf,
  linkTo,
  machineTls,
  openTwoClouds,
  orderOnly,
  type TwoClouds,
  visitHome,
} from '@millrace/testkit/adversary/two-clouds';
import { randomDesign } from '@millrace/testkit/designs';
import { call } from '@millrace/testkit/http';
import { store, untilEnded } from '@millrace/testkit/job';
import { samplePla } from '@millrace/testkit/protocol/material';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

// Row 32: one of two clouds that recognise each other, or a user of one, takes what it may not have of the other. The
// design is `here`, the machine is `there`. All keys are real.

let clouds: TwoClouds;
let design: string;
const content = randomDesign(90_000);
beforeAll(async () => {
  clouds = await openTwoClouds();
  const { here } = clouds;
  design = (await store(here, here.owner, content, { name: 'part.bin', kind: 'binary', bytesPerSecond: 1e9 })).design;
});
afterAll(() => clouds?.close());

const license = (objects = 9) =>
  grantLicence(clouds.here.owner, {
    ...{ design, objects, machines: [clouds.there.machine], materials: [], days: 1, holder: 'operator' },
  });
const permitted = async (licence: string) => (await clouds.here.owner.api.licence(licence)).permitted;
/** The error code of calling home at the design's cloud. */
const home = async (licence: string, lies: Omit<Parameters<typeof visitHome>[1], 'licence'> = {}) =>
  outcomeOf((await visitHome(clouds, { licence, ...lies })).answer());

it('positive control: with both signatures and a visa the machine makes the object', async () => {
  const { here, there, visitor } = clouds;
  const agent = await there.agent();
  const { print } = await requestVisit(here.operator, visitor, { licence: await license(), machine: there.machine });
  expect(await untilEnded(here.operator, print)).toMatchObject({ state: 'completed' });
  await agent.close();
  expectTaken(agent, content);
  expect(await home(await license())).toBe('accepted');
});

describe('the machine’s cloud, without the holder', () => {
  it('has every visa refused that no request of the holder stands behind', async () => {
    const { there } = clouds;
    const licence = await license();
    for (const visitor of [there.admin, there.operator, there.owner])
      expect(await home(licence, { visitor })).toBe('E_AUTH');
    expect(await permitted(licence)).toBe(0);
  });

  it('cannot order at the design’s cloud, whatever it signs', async () => {
    const { here, there, visitor } = clouds;
    const licence = await license();
    const body = { type: 'print.request', licence, machine: there.machine } as const;
    for (const signer of [there.admin, visitor]) {
      const { bytes } = await signNew(signer, body);
      const json = { transaction: toBase64(bytes) };
      const answer = here.call('control', 'operator', { method: 'POST', path: '/v1/transactions', json });
      expect(await answerOf(answer)).toMatch(/^E_(SIGNATURE|AUTH)$/);
    }
    expect(await home(licence, { print: '00'.repeat(16) })).toBe('E_NOT_FOUND');
  });

  it('cannot put another machine in the place of the licensed one', async () => {
    const { here, there } = clouds;
    const licence = await license();
    const print = await orderOnly(clouds, licence);
    const { machineKey } = clouds.config;
    const key = generateP256Key();
    Object.assign(clouds.config, { machineKey: key });
    expect(await home(licence, { print })).toBe('E_AUTH');
    Object.assign(clouds.config, { machineKey });
    // Another machine of that cloud, which its administrator registers with the licensed machine's name.
    const forged = {
      machine: there.machine,
      publicKey: key.publicKey,
      serial: 'x',
      kind: 'sink',
      profile: { factor: 1 },
    };
    const { bytes } = await signNew(there.admin, { type: 'machine.register', machine: forged });
    const cloud = there.installation.directory.installation;
    const introduced = await signNew(here.tenant, { type: 'machine.introduce', cloud, registration: bytes });
    expect(await outcomeOf(here.tenant.api.submit(introduced.bytes))).toBe('E_MACHINE_UNKNOWN');
  });

  it('reaches nothing but the machine’s link with certificates that its authority issues', async () => {
    const { here, there } = clouds;
    const authority = await authorityOf(there);
    const own = await here.agent();
    for (const party of [
      { role: 'keys', id: 'keys-1' },
      { role: 'segments', id: 'segments-1' },
      { role: 'user', name: keyName(here.owner.signer.publicKey) },
    ] as const)
      expect(await linkTo(here, await authority.issue(party), { refused: true })).toBeUndefined();
    // A machine of `here`: it gets neither that machine's place nor its work.
    const link = await linkTo(here, await authority.issue({ role: 'machine', name: here.machine }));
    const wait = encodeCbor({ wait: 0 });
    const options = { timeoutMs: 5_000 };
    for (const method of ['next', 'visa'] as const)
      expect(await outcomeOf(link?.call(method, wait, options) as Promise<unknown>)).toBe('E_FORBIDDEN');
    const report = encodeCbor({ report: new Uint8Array(9) });
    expect(await outcomeOf(link?.call('report', report, options) as Promise<unknown>)).toBe('E_MACHINE_UNKNOWN');
    link?.close();
    await own.close();
    const { directory } = here.installation;
    const identity = await machineTls(there);
    const read = (node: 'control' | 'distribution', path: string) =>
      call(here.addresses[node], directory, node, identity, { method: 'GET', path });
    await expect(read('control', '/v1/directory')).rejects.toThrow();
    expect((await read('distribution', '/v1/directory')).status).toBe(200);
    expect(await answerOf(read('distribution', `/v1/uploads/${design}?segments=1`))).toBe('E_AUTH');
  });
});

describe('a visa', () => {
  it('is refused for another print, machine, run, licence or cloud', async () => {
    const licence = await license();
    const other = await license();
    for (const visa of [
      { print: await orderOnly(clouds, licence) },
      { machine: clouds.there.elsewhere },
      { run: systemRandom(16) },
      { licence: other },
      { cloud: clouds.there.installation.directory.installation },
    ])
      expect(await home(licence, { visa }), Object.keys(visa)[0]).toBe('E_VISA');
    expect(await permitted(licence)).toBe(0);
  });

  it('is good for one object: used again, it permits no other', async () => {
    const licence = await license();
    const first = await visitHome(clouds, { licence });
    expect(await outcomeOf(first.answer())).toBe('accepted');
    // The same print in another run, with a visa for that run.
    expect(await home(licence, { print: first.print })).toBe('E_VISA');
    expect(await permitted(licence)).toBe(1);
  });

  it('of a cloud that is not recognised is refused, and so is its machine’s certificate', async () => {
    const licence = await license();
    expect(await home(licence, { signVisa: generateP256Key() })).toBe('E_AUTH');
    // The tenant's cloud here: an authority that nobody recognises.
    const stranger = await createAuthority('stranger', systemClock.now());
    const tls = await stranger.issue({ role: 'machine', name: clouds.there.machine });
    expect(await linkTo(clouds.here, tls, { refused: true })).toBeUndefined();
  });
});

describe('a dishonest control node of the design’s cloud', () => {
  it('cannot make the proactive nodes stream without the admission', async () => {
    const { here } = clouds;
    const licence = await license();
    const { mailbox } = here.nodes.control.context;
    const openings: { readonly opening: never }[] = [];
    const send = mailbox.send.bind(mailbox);
    const undo = override(mailbox, 'send', async (recipient, id, message) => {
      if (message.type !== 'stream.open') return send(recipient, id, message);
      openings.push(message as never);
    });
    expect(await home(licence)).toBe('accepted');
    undo();
    const { opening } = openings[0] as { opening: Record<string, unknown> & { admission: object } };
    const { admission, ...without } = opening;
    for (const role of ['keys', 'segments'] as const) {
      const open = (what: object) => outcomeOf(here.nodes[role].parts.streams.open(what as never));
      expect(await open(without)).toBe('E_VISA');
      const other = { ...admission, request: (await visitHome(clouds, { licence })).shown.request };
      expect(await open({ ...opening, admission: other })).toBe('E_VISA');
      // The keys node may get the mail of the licence only now.
      await vi.waitFor(async () => expect(await open(opening)).toBe('accepted'), 20_000);
    }
  });

  it('cannot make the machine work: it takes work and visas from its own cloud only', async () => {
    const { here, there, visitor, config } = clouds;
    const licence = await license();
    const visit = await visitHome(clouds, { licence });
    const given = await visit.answer();
    const body = (
      await verifyMachineDocument(
        visit.request,
        here.installation.directory.installation,
        () => copyBytes(config.machineKey.publicKey),
        'any time',
      )
    ).body as never;
    // The documents of the other cloud as if they came from its own: no signature fits.
    const asOwn = checkPermit(config, systemClock.now(), { body, bytes: visit.request }, given);
    expect(await outcomeOf(asOwn)).toMatch(/^E_(AUTH|SIGNATURE)$/);
    // A visa that the other cloud's control has signed, passed on by a helper at its own cloud.
    const { context } = there.nodes.control;
    const undo = override(
      context as { permitKey: typeof context.permitKey },
      'permitKey',
      here.nodes.control.context.permitKey,
    );
    const agent = await there.agent();
    const ordered = await requestVisit(here.operator, visitor, { licence, machine: there.machine });
    await vi.waitFor(
      async () => expect(await visitor.api.visit(ordered.visit)).toMatchObject({ state: 'failed' }),
      20_000,
    );
    undo();
    await agent.close();
    expect(agent.runs).toEqual([]);
    expect(await here.operator.api.print(ordered.print)).toMatchObject({ state: 'queued' });
  });
});

describe('a licence that wants a certified material', () => {
  let carla: Session;
  let rita: Session;
  let licence: string;
  beforeAll(async () => {
    const { here } = clouds;
    const acme = await addOrganisation(here, 'ACME', 'supplier');
    carla = await joined(here, acme, 'Carla', 'certifier');
    rita = await joined(here, await addOrganisation(here, 'Rival', 'supplier'), 'Rita', 'certifier');
    const terms = { design, objects: 9, machines: [clouds.there.machine], days: 1, holder: 'operator' };
    const certified = { materials: [clouds.config.material], suppliers: [acme.organisation] };
    licence = await grantLicence(here.owner, { ...terms, ...certified });
  });
  afterAll(() => {
    for (const session of [carla, rita]) session?.close();
  });

  /** `spool.load` for the machine's cloud, which knows neither supplier. */
  async function load(supplier: Session, operator: Session = clouds.visitor) {
    const { there, config } = clouds;
    const at = <T extends Session>(session: T) => ({ ...session, directory: there.installation.directory });
    const pla = samplePla(systemClock.now(), { name: config.material });
    const { bytes: certificate } = await signNew(at(supplier), { type: 'material.certify', ...pla });
    const loaded = { type: 'spool.load', machine: there.machine, number: systemClock.now(), certificate } as const;
    return (await signNew(at(operator), loaded)).bytes;
  }
  const shown = (bytes: Bytes, named = bytes) => home(licence, { load: bytes, visa: { load: sha256(named) } });

  it('positive control: is met by a spool of that supplier at the other cloud', async () => {
    expect(await shown(await load(carla))).toBe('accepted');
  });

  it('is not met by what the machine’s cloud forges: its administrator, another supplier, an older statement', async () => {
    const { there } = clouds;
    const before = await permitted(licence);
    expect(await home(licence)).toBe('E_MATERIAL');
    expect(await shown(await load(rita))).toBe('E_MATERIAL');
    for (const forged of [await load(there.admin), await load(carla, there.admin), await load(carla, there.operator)])
      expect(await shown(forged)).toBe('E_MATERIAL');
    const [older, newer] = [await load(carla), await load(carla)];
    expect(await shown(older, newer)).toBe('E_MATERIAL');
    expect(await home(licence, { load: older })).toBe('E_MATERIAL');
    expect(await permitted(licence)).toBe(before);
  });

  it('is checked by the proactive nodes, whatever credentials control shows', async () => {
    const { here } = clouds;
    const { mailbox } = here.nodes.control.context;
    const openings: { readonly opening: never }[] = [];
    const send = mailbox.send.bind(mailbox);
    const undo = override(mailbox, 'send', async (recipient, id, message) => {
      if (message.type !== 'stream.open') return send(recipient, id, message);
      openings.push(message as never);
    });
    expect(await shown(await load(carla))).toBe('accepted');
    undo();
    const { opening } = openings[0] as { opening: { admission: { signers: { operator: Bytes; supplier: Bytes } } } };
    const { signers, ...admission } = opening.admission;
    const { document: rival } = await here.nodes.control.context.records.users.require(keyName(rita.signer.publicKey));
    for (const role of ['keys', 'segments'] as const) {
      const open = (changed: object) =>
        outcomeOf(
          here.nodes[role].parts.streams.open({ ...opening, admission: { ...admission, ...changed } } as never),
        );
      expect(await open({})).toBe('E_MATERIAL');
      expect(await open({ signers: { ...signers, supplier: rival } })).toBe('E_MATERIAL');
      expect(await open({ signers: { ...signers, operator: rival } })).toBe('E_MATERIAL');
      await vi.waitFor(async () => expect(await open({ signers })).toBe('accepted'), 20_000);
    }
  });
});

describe('a user of the machine’s cloud without a licence', () => {
  it('gets a visit that makes nothing', async () => {
    const { here, there, visitor } = clouds;
    const agent = await there.agent();
    const cloud = here.installation.directory.installation;
    const licence = await license();
    const print = await orderOnly(clouds, licence);
    // For somebody else's print: the visit is signed by the operator of `there`.
    const body = { type: 'visit.request', cloud, print, licence, machine: there.machine } as const;
    const { id, bytes } = await signNew(there.operator, body);
    await there.operator.api.submit(bytes);
    await vi.waitFor(async () => expect(await there.operator.api.visit(id)).toMatchObject({ state: 'failed' }), 20_000);
    expect(await outcomeOf(visitor.api.visit(id))).toBe('E_FORBIDDEN');
    await agent.close();
    expect(agent.runs).toEqual([]);
    expect(await permitted(licence)).toBe(0);
  });
});

describe('a document of one cloud', () => {
  it('does not verify at the other, even under the same key', async () => {
    const { here, there, visitor, config } = clouds;
    const licence = await license();
    const [a, b] = [here, there].map(({ installation }) => installation.directory.installation) as [string, string];
    const now = systemClock.now();
    const user = () => copyBytes(visitor.signer.publicKey);
    const machine = () => copyBytes(config.machineKey.publicKey);
    const { shown, request, answer } = await visitHome(clouds, { licence });
    const given = await answer();
    const times = { id: systemRandom(16), issued: now, expires: now + 60_000 };
    const run = systemRandom(16);
    const visit = '00'.repeat(16);
    const asked = await signMachineDocument(config.machineKey, b, { type: 'visa.request', ...times, visit, run });
    const report = { type: 'visit.report', ...times, visit, run, event: 'completed' } as const;
    const told = await signMachineDocument(config.machineKey, b, report);
    const permitKey = (system: typeof here) => () => copyBytes(system.nodes.control.context.permitKey.publicKey);
    const [registered] = (await visitor.api.machines()).map(({ document }) => fromBase64(document));
    const admin = () => copyBytes(there.admin.signer.publicKey);
    const documents: [string, string, (installation: string) => Promise<unknown>][] = [
      ['print.request', a, (at) => verifyTransaction(given.print, at, user, now)],
      ['permit', a, (at) => verifyPermit(given.permit, at, permitKey(here), now)],
      ['permit.request', a, (at) => verifyMachineDocument(request, at, machine, now)],
      ['visit.request', b, (at) => verifyTransaction(shown.request, at, user, now)],
      ['visa', b, (at) => verifyVisa(shown.visa, at, permitKey(there), now)],
      ['visa.request', b, (at) => verifyMachineDocument(asked, at, machine, now)],
      ['visit.report', b, (at) => verifyMachineDocument(told, at, machine, now)],
      ['machine.register', b, (at) => verifyTransaction(registered ?? new Uint8Array(), at, admin, 'any time')],
    ];
    for (const [name, own, verify] of documents) {
      expect(await outcomeOf(verify(own)), name).toBe('accepted');
      expect(await outcomeOf(verify(own === a ? b : a)), name).toBe('E_SIGNATURE');
    }
    // The nodes themselves, which know the key.
    const submit = (system: typeof here, bytes: Uint8Array, session: typeof visitor) =>
      outcomeOf(session.api.submit(bytes)).then((code) => [system === here ? 'here' : 'there', code]);
    expect(await submit(here, shown.request, here.operator)).toEqual(['here', 'E_SIGNATURE']);
    expect(await submit(there, given.print, visitor)).toEqual(['there', 'E_SIGNATURE']);
  });
});
