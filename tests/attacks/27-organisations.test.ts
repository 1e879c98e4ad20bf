import type { KeyView } from '@millrace/api';
import { type Bytes, copyBytes, fromBase64, systemClock, systemRandom, toHex } from '@millrace/base';
import {
  createNames,
  grantLicence,
  ownDesign,
  ownDesignSecret,
  revokeLicence,
  type Session,
  shareDesign,
  signNew,
} from '@millrace/client';
import { keyId, keyName, ownerSealingKey } from '@millrace/identity';
import {
  encodePublished,
  openShare,
  sealShare,
  signRevocationList,
  type TransactionOf,
  verifyCredential,
  verifyTransaction,
} from '@millrace/protocol';
import { type Licensed, outcomeOf, SEGMENT, until } from '@millrace/testkit/adversary/honest';
import {
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import {
  addOrganisation,
  enrolledOffline,
  joined,
  type Member,
  type TestOrganisation,
} from '@millrace/testkit/adversary/members';
import { asMachine, forgeOpening, type Lies } from '@millrace/testkit/adversary/opening';
import { randomDesign } from '@millrace/testkit/designs';
import { store } from '@millrace/testkit/job';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 27: control is hostile and helps people who are real members of an organisation, each with real keys and real
// credentials: of another organisation, without the role, expired, or revoked. Both proactive nodes and the machine are
// honest and refuse, each for itself.

let system: HostileInstallation;
let brand: TestOrganisation;
let bureau: TestOrganisation;
let rival: TestOrganisation;
let dora: Session;
let job: Licensed;
const sessions: Session[] = [];

beforeAll(async () => {
  system = await openHostileInstallation();
  brand = await addOrganisation(system, 'Brand', 'brand');
  bureau = await addOrganisation(system, 'Bureau', 'bureau');
  rival = await addOrganisation(system, 'Rival', 'brand');
  dora = await joined(system, brand, 'Dora', 'designer');
  sessions.push(dora);
  const content = randomDesign(3 * SEGMENT - 100);
  const { design } = await store(system, dora, content, { name: 'part.bin', kind: 'binary', bytesPerSecond: 1e9 });
  const { serial } = system.installation.description.machines[0]?.registration ?? { serial: '' };
  const licence = { objects: 50, machines: [serial], materials: [], days: 1, holder: 'Bureau' };
  job = { content, design, licence: await grantLicence(dora, { design, ...licence }), objects: 50 };
}, 60_000);
afterAll(async () => {
  for (const session of sessions) session.close();
  await system?.close();
});

/** What machine, keys node and segments node each say of an opening that control forged. */
async function verdicts(lies: Lies): Promise<Record<string, string>> {
  const forged = await forgeOpening(system, job, lies);
  const says: Record<string, string> = { machine: await outcomeOf(asMachine(forged)) };
  for (const role of ['keys', 'segments'] as const)
    says[role] = await outcomeOf(system.nodes[role].parts.streams.open(forged.opening));
  return says;
}

const allSay = (code: string) => ({ machine: code, keys: code, segments: code });
let number = 0;
/** Another object of the licence. */
const next = (): Lies => {
  number += 1;
  return { permit: { number, object: `${job.licence}-${number}` } };
};

const acting = ({ signer }: Member): Session => ({ ...dora, signer });

/** A print request that the member signs, and control forwards with the member's credential. */
const orderedBy = async (member: Member) =>
  verdicts({ ...next(), holder: acting(member), printSigner: member.credential });

/** The licence with the same terms, signed by the member, which control puts in the place of the genuine one. */
async function licensedBy(member: Member) {
  const { bytes } = await signNew(acting(member), await terms(), copyBytes(Buffer.from(job.licence, 'hex')));
  return verdicts({
    ...next(),
    holder: acting(otto),
    printSigner: otto.credential,
    licence: bytes,
    licenceSigner: member.credential,
  });
}

/** The terms of the genuine licence, to be signed by somebody else. */
async function terms() {
  const { transaction } = await system.nodes.control.context.records.licences.require(job.licence);
  const { installation } = system.installation.directory;
  const { body } = await verifyTransaction(transaction, installation, () => dora.signer.publicKey as Bytes, 'any time');
  const { id: _, issued: __, expires: ___, ...rest } = body as TransactionOf<'licence.grant'>;
  return rest;
}

let otto: Member;
const enrol = enrolledOffline;

describe('baseline: members of the right organisations, in the right roles', () => {
  it('are accepted by all, also another designer and another operator than those whom control knows', async () => {
    otto = await enrol(system, bureau, ['operator']);
    expect(await orderedBy(otto)).toEqual(allSay('accepted'));
    expect(await licensedBy(await enrol(system, brand, ['designer']))).toEqual(allSay('accepted'));
  });

  it('the signatures of all the others are genuine, and their credentials lead to the administrator', async () => {
    const { directory } = system.installation;
    for (const [of, roles] of [
      [rival, ['designer', 'operator']],
      [bureau, ['auditor', 'owner-admin']],
    ] as const) {
      const { signer, credential } = await enrol(system, of, roles);
      expect((await verifyCredential(credential, directory)).member?.organisation).toBe(of.organisation);
      const { bytes } = await signNew({ ...dora, signer }, { type: 'print.cancel', print: job.licence });
      const lookup = (id: Bytes) => (toHex(id) === toHex(keyId(signer.publicKey)) ? signer.publicKey : undefined);
      expect((await verifyTransaction(bytes, directory.installation, lookup, systemClock.now())).body.type).toBe(
        'print.cancel',
      );
    }
  });
});

describe('an order', () => {
  it.each([
    ['another organisation’s operator', () => enrol(system, rival, ['operator']), 'E_AUTH'],
    ['an operator of the brand', () => enrol(system, brand, ['operator']), 'E_AUTH'],
    ['a designer of the bureau', () => enrol(system, bureau, ['designer']), 'E_FORBIDDEN'],
    [
      'an auditor and owner-admin of the bureau',
      () => enrol(system, bureau, ['auditor', 'owner-admin']),
      'E_FORBIDDEN',
    ],
    [
      'an operator of the bureau whose key expired',
      () => enrol(system, bureau, ['operator'], { daysLeft: -1 }),
      'E_EXPIRED',
    ],
    ['somebody whom the rival’s admin invites to the bureau', rivalsInvite, 'E_AUTH'],
  ] as const)('of %s is refused by machine, keys and segments nodes', async (_who, member, code) => {
    expect(await orderedBy(await member())).toEqual(allSay(code));
  });

  it('of an operator with the credential of another operator is refused', async () => {
    const eve = await enrol(system, rival, ['operator']);
    const lies = { ...next(), holder: acting(eve), printSigner: otto.credential };
    expect(await verdicts(lies)).toEqual(allSay('E_AUTH'));
  });
});

/** The rival's owner-admin signs an invitation to the bureau, and puts it under the bureau's registration. */
async function rivalsInvite(): Promise<Member> {
  const admin = await enrol(system, rival, ['owner-admin']);
  return enrol(system, bureau, ['operator'], { inviter: admin.signer });
}

describe('a licence', () => {
  it.each([
    ['another organisation’s designer', () => enrol(system, rival, ['designer']), { nodes: 'E_AUTH' }],
    ['an operator of the brand', () => enrol(system, brand, ['operator']), { nodes: 'E_FORBIDDEN' }],
    ['an auditor of the brand', () => enrol(system, brand, ['auditor']), { nodes: 'E_FORBIDDEN' }],
    ['an owner-admin of the brand', () => enrol(system, brand, ['owner-admin']), { nodes: 'E_FORBIDDEN' }],
    [
      'a designer whose key has expired',
      () => enrol(system, brand, ['designer'], { daysLeft: -1 }),
      { nodes: 'E_EXPIRED' },
    ],
  ] as const)('of %s is refused by keys and segments nodes', async (_who, member, { nodes }) => {
    const { machine, ...says } = await licensedBy(await member());
    expect(says).toEqual({ keys: nodes, segments: nodes });
    // The machine learns the design's owner with the stream and refuses a core of another owner then.
    expect(machine).toBe(nodes === 'E_AUTH' ? 'accepted' : nodes);
  });

  it('with an earlier date, by a designer whose key has expired, gets no secret from the keys node', async () => {
    const late = await enrol(system, brand, ['designer'], { daysLeft: -1 });
    const own = await terms();
    const then = { now: () => systemClock.now() - 2 * 86_400_000, monotonic: () => systemClock.monotonic() };
    const { bytes } = await signNew({ ...acting(late), clock: then }, own);
    const { licences, playbook, config } = system.nodes.keys.parts;
    const { owner, organisation } = playbook.design(job.design);
    const add = (credential: Bytes, transaction: Bytes) =>
      outcomeOf(
        licences.add({
          granted: { transaction, credential, secret: systemRandom(32) },
          designOf: async () => ({ owner, organisation, coreHash: copyBytes(own.core) }),
          directory: config.directory,
          now: systemClock.now(),
          open: async () => systemRandom(32),
        }),
      );
    expect(await add(late.credential, bytes)).toBe('E_EXPIRED');
    // The same licence of a key that counts fails later, at the secret that was not signed.
    const valid = await enrol(system, brand, ['designer']);
    const { bytes: signed } = await signNew(acting(valid), own);
    expect(await add(valid.credential, signed)).toBe('E_LICENCE_INVALID');
  });
});

describe('a statement and a deletion', () => {
  const statement = async (member: Member) => {
    const { transaction: licence, credential: licenceSigner } =
      await system.nodes.control.context.records.licences.require(job.licence);
    const body = { type: 'licence.suspend', licence: job.licence, number: systemClock.now() } as const;
    const { bytes } = await signNew(acting(member), body);
    const { credential } = member;
    const mail = { type: 'licence.status', licence, licenceSigner, transaction: bytes, credential } as const;
    return Promise.all(
      (['keys', 'segments'] as const).map((role) => outcomeOf(system.nodes[role].parts.streams.setLicenceStatus(mail))),
    );
  };

  it('is refused by each node unless a designer of the owner’s organisation signs', async () => {
    for (const [of, role, code] of [
      [rival, 'designer', 'E_AUTH'],
      [bureau, 'operator', 'E_AUTH'],
      [brand, 'operator', 'E_FORBIDDEN'],
      [brand, 'auditor', 'E_FORBIDDEN'],
    ] as const) {
      const member = await enrol(system, of, [role]);
      expect(await statement(member), `${of.name} ${role}`).toEqual([code, code]);
      const { bytes } = await signNew(acting(member), { type: 'design.delete', design: job.design });
      const deletion = { type: 'design.delete', design: job.design, transaction: bytes, credential: member.credential };
      const { deletions, playbook } = system.nodes.keys.parts;
      const noted = deletions.note(deletion as never, playbook.design(job.design));
      expect(await outcomeOf(noted), `${of.name} ${role}`).toBe(code);
      expect(await outcomeOf(system.nodes.segments.parts.designs.delete(deletion as never))).toBe(code);
    }
    expect(await orderedBy(await enrol(system, bureau, ['operator']))).toEqual(allSay('accepted'));
  });
});

describe('a revoked member', () => {
  it('orders and licenses nothing more, at machine, keys and segments nodes', { timeout: 60_000 }, async () => {
    const { directory } = system.installation;
    const [operator, designer] = [await enrol(system, bureau, ['operator']), await enrol(system, brand, ['designer'])];
    const now = systemClock.now();
    const entries = [operator, designer].map(({ signer }) => {
      return { key: keyName(signer.publicKey), name: 'left', at: now, kept: [] };
    });
    const times = { id: systemRandom(16), issued: now, expires: now };
    const list = { type: 'revocations' as const, ...times, sequence: 1, entries };
    const document = await signRevocationList(system.admin.signer, directory.installation, list);
    const body = encodePublished(document);
    await system.call('distribution', 'admin', { method: 'POST', path: '/v1/revocations', body });
    const agent = await system.agent(SITE);
    const known = () =>
      [agent.config, system.nodes.keys.parts.config].every(({ directory: held }) =>
        entries.every(({ key }) => held.revocations?.of(key).length === 1),
      );
    await until('agent and keys node have heard of it', known);
    const revoked = async (lies: Lies) => {
      const forged = await forgeOpening(system, job, lies);
      return [
        await outcomeOf(asMachine({ ...forged, config: agent.config })),
        await outcomeOf(system.nodes.keys.parts.streams.open(forged.opening)),
      ];
    };
    const lies = { holder: acting(operator), printSigner: operator.credential };
    expect(await revoked({ ...next(), ...lies })).toEqual(['E_REVOKED', 'E_REVOKED']);
    const own = await terms();
    const { bytes } = await signNew(acting(designer), own, copyBytes(Buffer.from(job.licence, 'hex')));
    const print = { holder: acting(otto), printSigner: otto.credential };
    const licence = { licence: bytes, licenceSigner: designer.credential };
    expect(await revoked({ ...next(), ...print, ...licence })).toEqual(['E_REVOKED', 'E_REVOKED']);
    await agent.close();
  });
});

describe('a design shared with other designers', () => {
  const secretOf = async (session: Session) => ownDesignSecret(session, await ownDesign(session, job.design));
  const withApi = (session: Session, api: Partial<Session['api']>): Session => ({
    ...session,
    api: { ...session.api, ...api },
  });
  let bob: Session;
  let eve: Session;
  beforeAll(async () => {
    bob = await joined(system, brand, 'Bob', 'designer');
    eve = await joined(system, rival, 'Eve', 'designer');
    sessions.push(bob, eve, await joined(system, brand, 'Olga', 'operator'));
  });
  const viewOf = async ({ api, signer }: Session) => api.key(keyName(signer.publicKey));

  it('opens for them, and for nobody else', async () => {
    await expect(secretOf(bob)).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    expect((await shareDesign(dora, job.design)).map(({ name }) => name)).toEqual(['Bob']);
    expect(await secretOf(bob)).toEqual(await secretOf(dora));
    // Whoever can open it can share it again, and license it to machines.
    expect((await shareDesign(bob, job.design)).map(({ name }) => name)).toEqual([]);
    const { serial } = system.installation.description.machines[0]?.registration ?? { serial: '' };
    const more = { objects: 1, machines: [serial], materials: [], days: 1, holder: 'Bureau' };
    expect(await grantLicence(bob, { design: job.design, ...more })).toMatch(/^[0-9a-f]{32}$/);
    for (const session of [eve, sessions.at(-1) as Session])
      expect(await outcomeOf(session.api.designShare(job.design))).toBe('E_FORBIDDEN');
  });

  it('a new design is shared when it is added', async () => {
    const added = { name: 'second.bin', kind: 'binary', bytesPerSecond: 1e9 } as const;
    const { design } = await store(system, dora, randomDesign(SEGMENT), added);
    const opened = async (session: Session) => ownDesignSecret(session, await ownDesign(session, design));
    expect(await opened(bob)).toEqual(await opened(dora));
  });

  it('baseline: what is sealed to another organisation’s key opens there', async () => {
    const { sealingKey = new Uint8Array() } = await verifyCredential(
      fromBase64((await viewOf(eve)).credential),
      system.installation.directory,
    );
    const { installation } = system.installation.directory;
    const binding = { installation, design: job.design, key: keyName(eve.signer.publicKey) };
    const sealed = await sealShare(sealingKey, binding, new Uint8Array(32).fill(7));
    const own = ownerSealingKey(eve.user.signer.exportSecret());
    expect(await openShare(own, binding, sealed)).toEqual(new Uint8Array(32).fill(7));
    own.close();
  });

  it('control cannot add a key: the client verifies every recipient to the administrator', async () => {
    const [theirs, ours] = [await viewOf(eve), await viewOf(bob)];
    const showing = (...views: Partial<KeyView>[]) =>
      withApi(dora, { organisationKeys: async () => views.map((view) => ({ ...ours, ...view })) });
    const recipients = async (session: Session) => (await shareDesign(session, job.design)).map(({ key }) => key);
    expect(await recipients(showing(theirs))).toEqual([]);
    expect(await recipients(showing({ credential: theirs.credential }))).toEqual([]);
    expect(await recipients(showing({ key: theirs.key }))).toEqual([]);
    expect(await recipients(showing({}))).toEqual([ours.key]);
    const asked = (session: Session, key: string) => outcomeOf(shareDesign(session, job.design, [key]));
    expect(await asked(showing(theirs), theirs.key)).toBe('E_FORBIDDEN');
    expect(await asked(showing({ key: theirs.key }), theirs.key)).toBe('E_AUTH');
    expect(await asked(dora, theirs.key)).toBe('E_NOT_FOUND');
    const operator = sessions.at(-1) as Session;
    expect(await asked(dora, keyName(operator.signer.publicKey))).toBe('E_FORBIDDEN');
  });

  it('control cannot show a key under another name', async () => {
    const [theirs, ours] = [await viewOf(eve), await viewOf(bob)];
    expect(await createNames(dora).key(ours.key)).toBe('Bob (Brand)');
    expect(await createNames(dora).party(brand.organisation)).toBe('Brand');
    const lying = withApi(dora, {
      key: async () => ({ ...ours, key: theirs.key }),
      organisations: async () => (await dora.api.organisations()).map((view) => ({ ...view, name: 'Brand' })),
    });
    expect(await outcomeOf(createNames(lying).key(theirs.key))).toBe('E_AUTH');
    expect(await outcomeOf(createNames(lying).party(rival.organisation))).toBe('E_AUTH');
  });

  it('control cannot give a share of its own making', async () => {
    const share = await bob.api.designShare(job.design);
    const credential = fromBase64((await viewOf(eve)).credential);
    const { installation } = system.installation.directory;
    const key = keyName(bob.signer.publicKey);
    const { sealingKey = new Uint8Array() } = await verifyCredential(
      fromBase64((await viewOf(bob)).credential),
      system.installation.directory,
    );
    const sealed = await sealShare(sealingKey, { installation, design: job.design, key }, systemRandom(32));
    const sign = (by: Session, design = job.design) =>
      signNew(by, { type: 'design.share', design, shares: [{ key, sealed }] });
    const given = async (answer: typeof share) =>
      outcomeOf(secretOf(withApi(bob, { designShare: async () => answer })));
    expect(await given({ transaction: (await sign(eve)).bytes, credential })).toBe('E_AUTH');
    expect(await given({ ...share, credential })).toBe('E_AUTH');
    const other = await sign(dora, 'ab'.repeat(16));
    expect(await given({ ...share, transaction: other.bytes })).toBe('E_FORBIDDEN');
    // A colleague can seal rubbish. It does not open as another secret.
    expect(await given({ ...share, transaction: (await sign(dora)).bytes })).toBe('E_SEAL');
    expect(await given(share)).toBe('accepted');
  });
});

describe('an honest control node', () => {
  it('lets each member do what the role allows, across tenants', { timeout: 60_000 }, async () => {
    const people = {
      designer: await joined(system, brand, 'Berta', 'designer'),
      auditor: await joined(system, brand, 'Aud', 'auditor'),
      operator: await joined(system, bureau, 'Ottilie', 'operator'),
      outsider: await joined(system, rival, 'Eve', 'designer', 'operator', 'auditor', 'owner-admin'),
    };
    sessions.push(...Object.values(people));
    const sees = async ({ api }: Session) => [
      (await api.designs()).length,
      (await api.licences()).length,
      await outcomeOf(api.design(job.design)),
      await outcomeOf(api.licence(job.licence)),
      await outcomeOf(api.privatePart(job.design)),
    ];
    expect(await sees(people.designer)).toEqual([2, 2, 'accepted', 'accepted', 'accepted']);
    expect(await sees(people.auditor)).toEqual([2, 2, 'accepted', 'accepted', 'E_FORBIDDEN']);
    expect(await sees(people.operator)).toEqual([0, 2, 'E_FORBIDDEN', 'accepted', 'E_FORBIDDEN']);
    expect(await sees(people.outsider)).toEqual([0, 0, 'E_FORBIDDEN', 'E_FORBIDDEN', 'E_FORBIDDEN']);
    const submit = async (session: Session, body: Parameters<typeof signNew>[1]) =>
      outcomeOf(session.api.submit((await signNew(session, body)).bytes));
    for (const who of ['auditor', 'operator', 'outsider'] as const) {
      const session = people[who];
      expect(await submit(session, { type: 'design.delete', design: job.design }), who).toBe('E_FORBIDDEN');
      const suspend = { type: 'licence.suspend', licence: job.licence, number: systemClock.now() } as const;
      expect(await submit(session, suspend), who).toBe('E_FORBIDDEN');
    }
    const order = { type: 'print.request', licence: job.licence, machine: system.machine } as const;
    for (const who of ['designer', 'auditor', 'outsider'] as const)
      expect(await submit(people[who], order), who).toBe('E_FORBIDDEN');
    expect(await submit(people.operator, order)).toBe('accepted');
    await revokeLicence(people.designer, await people.designer.api.licence(job.licence), { stop: false });
    expect((await people.operator.api.licence(job.licence)).status).toBe('revoked');
  });
});
