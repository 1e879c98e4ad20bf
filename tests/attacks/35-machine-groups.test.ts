import { copyBytes, fromBase64, systemRandom, toHex } from '@millrace/base';
import {
  assignMachine,
  changeGroup,
  createGroup,
  grantLicence,
  groupNamed,
  type Session,
  signNew,
} from '@millrace/client';
import type { MachineMembership, TransactionOf } from '@millrace/protocol';
import { type Licensed, outcomeOf, SEGMENT } from '@millrace/testkit/adversary/honest';
import {
  ELSEWHERE,
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { addOrganisation, joined, type TestOrganisation } from '@millrace/testkit/adversary/members';
import { asMachine, credentialOf, forgeOpening, type Lies } from '@millrace/testkit/adversary/opening';
import { randomDesign } from '@millrace/testkit/designs';
import { store } from '@millrace/testkit/job';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Row 35: a licence is for the machines of a bureau's site. The bureau, a rival and control want objects on machines
// that the owner did not agree to, each with real keys. Proactive nodes and agents are honest and refuse, each for
// itself.

let system: HostileInstallation;
let bureau: TestOrganisation;
let rival: TestOrganisation;
/** Operator and auditor of the bureau, owner-admin of the rival. */
let otto: Session;
let anna: Session;
let rita: Session;
let site: string;
let any: Licensed;
let named: Licensed;
/** For the machine in two of its groups: the site and `Metal`. */
let both: Licensed;
let metal: string;
let made = 0;

beforeAll(async () => {
  system = await openHostileInstallation();
  bureau = await addOrganisation(system, 'Bureau', 'bureau');
  rival = await addOrganisation(system, 'Rival', 'bureau');
  otto = await joined(system, bureau, 'Otto', 'operator');
  anna = await joined(system, bureau, 'Anna', 'auditor');
  rita = await joined(system, rival, 'Rita', 'owner-admin', 'operator');
  await assign(SITE, bureau);
  await assign(ELSEWHERE, rival);
  const machines = [idOf(SITE)];
  site = await createGroup(otto, { organisation: bureau.organisation, kind: 'site', name: 'Graz', machines });
  metal = await createGroup(otto, { organisation: bureau.organisation, kind: 'group', name: 'Metal', machines });
  const content = randomDesign(2 * SEGMENT);
  const options = { name: 'part.bin', kind: 'binary', bytesPerSecond: 1e9, custody: 'keys' } as const;
  const { design } = await store(system, system.owner, content, options);
  const terms = { design, objects: 50, sites: ['Graz'], materials: [], days: 1, holder: 'operator' };
  const licensed = { content, design, objects: 50 };
  any = { ...licensed, licence: await grantLicence(system.owner, { ...terms, members: 'any' }) };
  named = { ...licensed, licence: await grantLicence(system.owner, terms) };
  both = { ...licensed, licence: await grantLicence(system.owner, { ...terms, groups: ['Metal'] }) };
}, 60_000);
afterAll(async () => {
  for (const session of [otto, anna, rita]) session?.close();
  await system?.close();
});

const idOf = (name: string): string =>
  system.installation.description.machines.find((entry) => entry.name === name)?.registration.machine ?? '';

async function assign(name: string, { organisation }: TestOrganisation): Promise<void> {
  const view = (await system.admin.api.machines()).find(({ machine }) => machine === idOf(name));
  if (view === undefined) throw new Error(`no machine ${name}`);
  await assignMachine(system.admin, view, organisation);
}

/** The administrator's genuine assignment of a machine. */
async function assignmentOf(name: string): Promise<Uint8Array> {
  const { assignment } = await system.nodes.control.context.records.machines.require(idOf(name));
  return assignment?.transaction ?? new Uint8Array();
}

type Changes = Partial<TransactionOf<'group.set'>>;
/** A statement that was signed with a real key and never submitted. */
async function stated(signer: Session, changes: Changes = {}): Promise<MachineMembership['statement']> {
  const body = { organisation: bureau.organisation, group: site, kind: 'site' as const, name: 'Graz' };
  const machines = [idOf(SITE), idOf(ELSEWHERE)];
  const { bytes } = await signNew(signer, { type: 'group.set', ...body, number: 1, machines, ...changes });
  return { transaction: bytes, credential: await credentialOf(system, bytes) };
}

async function genuine(): Promise<MachineMembership> {
  const { transaction, credential } = await system.nodes.control.context.records.groups.require(site);
  return { statement: { transaction, credential }, assignment: await assignmentOf(SITE) };
}

/** What keys node, segments node and agent answer when control permits another object with this membership. */
async function permitAnyway(job: Licensed, membership: MachineMembership | undefined, lies: Lies = {}) {
  made += 1;
  const permit = { number: made, object: `${job.licence}-${made}` };
  const forged = await forgeOpening(system, job, { permit, ...(membership && { membership }), ...lies });
  return [
    await outcomeOf(system.nodes.keys.parts.streams.open(forged.opening)),
    await outcomeOf(system.nodes.segments.parts.streams.open(forged.opening)),
    await outcomeOf(asMachine(forged)),
  ];
}
const all = (code: string) => [code, code, code];
const elsewhere = { machine: ELSEWHERE };

it('baseline: on a member of the site everybody accepts, and on no machine without a membership', async () => {
  for (const job of [any, named]) {
    expect(await permitAnyway(job, await genuine())).toEqual(all('accepted'));
    expect(await permitAnyway(job, undefined)).toEqual(all('E_LICENCE_INVALID'));
    expect(await permitAnyway(job, undefined, elsewhere)).toEqual(all('E_LICENCE_INVALID'));
    // The membership of another machine.
    expect(await permitAnyway(job, await genuine(), elsewhere)).toEqual(all('E_LICENCE_INVALID'));
  }
});

it('a machine counts in each group that the owner has named beside it, and in no other group of the bureau', async () => {
  const assignment = await assignmentOf(SITE);
  const group = { group: metal, kind: 'group', name: 'Metal' } as const;
  expect(await permitAnyway(both, await genuine())).toEqual(all('accepted'));
  expect(await permitAnyway(both, { statement: await stated(otto, group), assignment })).toEqual(all('accepted'));
  expect(await permitAnyway(named, { statement: await stated(otto, group), assignment })).toEqual(
    all('E_LICENCE_INVALID'),
  );
  const spare = { statement: await stated(otto, { ...group, group: toHex(systemRandom(16)) }), assignment };
  expect(await permitAnyway(both, spare)).toEqual(all('E_LICENCE_INVALID'));
});

it('a bureau cannot put a machine of another bureau into its site', async () => {
  const statement = await stated(otto);
  const assignment = await assignmentOf(ELSEWHERE);
  expect(await permitAnyway(any, { statement, assignment }, elsewhere)).toEqual(all('E_LICENCE_INVALID'));
  const machine = (await system.admin.api.machines()).find((view) => view.machine === idOf(ELSEWHERE));
  const registration = copyBytes(Buffer.from(machine?.registration ?? '', 'hex'));
  const claimed = { type: 'machine.assign', machine: idOf(ELSEWHERE), registration, number: 9 } as const;
  for (const signer of [otto, rita, system.owner]) {
    const { bytes } = await signNew(signer, { ...claimed, organisation: bureau.organisation });
    expect(await permitAnyway(any, { statement, assignment: bytes }, elsewhere)).toEqual(all('E_AUTH'));
  }
  expect(await permitAnyway(any, { statement, assignment: await assignmentOf(SITE) }, elsewhere)).toEqual(
    all('E_LICENCE_INVALID'),
  );
});

it('nobody else states who is in the site: another bureau, or a person of the bureau without the role', async () => {
  const assignment = await assignmentOf(ELSEWHERE);
  const own = { organisation: rival.organisation };
  for (const [signer, changes, code] of [
    [rita, {}, 'E_AUTH'],
    [rita, own, 'E_LICENCE_INVALID'], // a group of the rival, with the identifier of the bureau's site
    [rita, { ...own, group: toHex(systemRandom(16)) }, 'E_LICENCE_INVALID'],
    [anna, {}, 'E_FORBIDDEN'],
    [system.owner, {}, 'E_AUTH'],
  ] as const)
    expect(await permitAnyway(any, { statement: await stated(signer, changes), assignment }, elsewhere)).toEqual(
      all(code),
    );
});

it('a machine that the bureau buys later is licensed only where the owner has signed that', async () => {
  await assign(ELSEWHERE, bureau);
  const statement = await stated(otto, { number: Date.now() + 1 });
  const membership = { statement, assignment: await assignmentOf(ELSEWHERE) };
  expect(await permitAnyway(named, membership, elsewhere)).toEqual(all('E_LICENCE_INVALID'));
  expect(await permitAnyway(any, membership, elsewhere)).toEqual(all('accepted'));
});

it('a machine that was removed begins nothing at a node that was told, whatever control shows', async () => {
  const older = await genuine();
  // Control withholds the removal from everybody: a limit, until one of the nodes sees it.
  expect(await permitAnyway(any, older)).toEqual(all('accepted'));
  await changeGroup(otto, await groupNamed(otto, site, 'site'), { remove: [idOf(SITE)] });
  const { document, credential } = await groupNamed(otto, site, 'site');
  const removal = { transaction: fromBase64(document), credential: fromBase64(credential) };
  for (const role of ['keys', 'segments'] as const)
    await system.nodes[role].parts.streams.takeGroupMail({ type: 'group.set', ...removal });
  const told = ['E_LICENCE_INVALID', 'E_LICENCE_INVALID'];
  expect((await permitAnyway(any, older)).slice(0, 2)).toEqual(told);
  expect((await permitAnyway(named, older)).slice(0, 2)).toEqual(told);
  expect(await permitAnyway(any, { ...older, statement: removal })).toEqual(all('E_LICENCE_INVALID'));
  // A rival that replaces the site by its own statement does not bring the machine back.
  const own = await stated(rita, { organisation: rival.organisation, number: Date.now() + 60_000 });
  for (const role of ['keys', 'segments'] as const)
    await system.nodes[role].parts.streams.takeGroupMail({ type: 'group.set', ...own } as never);
  expect((await permitAnyway(any, older)).slice(0, 2)).toEqual(told);
});
