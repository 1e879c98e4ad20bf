import { copyBytes, encodeCbor, sleep } from '@millrace/base';
import { ownDesign, ownDesignSecret } from '@millrace/client';
import type { MachineKey } from '@millrace/identity';
import { loadMachineConfig } from '@millrace/machine/parts';
import { type NodeRole, openDesignSecret, readTransaction } from '@millrace/protocol';
import {
  forgeContent,
  keysOf,
  lootOf,
  openCoalition,
  opened,
  SEGMENTS,
  sealedOf,
  spoil,
  strike,
  type TestInstallation,
} from '@millrace/testkit/adversary/coalition';
import {
  answerOf,
  expectBeginning,
  expectTaken,
  type Licensed,
  licensed,
  outcomeOf,
  printed,
} from '@millrace/testkit/adversary/honest';
import { ELSEWHERE } from '@millrace/testkit/adversary/hostile-installation';
import { callAsMachine } from '@millrace/testkit/adversary/machine-calls';
import { forgeOpening } from '@millrace/testkit/adversary/opening';
import { type Attack, denialOnly, type Goal, held, limit, type Position } from '@millrace/testkit/adversary/position';
import { randomDesign } from '@millrace/testkit/designs';
import { order, untilEnded } from '@millrace/testkit/job';
import { scan } from '@millrace/testkit/scan';
import { CONTENT_BYTES } from '@millrace/vault';
import { expect } from 'vitest';
import {
  againAsAll,
  againAsControl,
  alterAsControl,
  falseMachine,
  forgeAsControl,
  judged,
  moreAsAll,
  moreAsControl,
  readAsOwner,
  refusedByAll,
} from './control-attacks.ts';

type Extra = Partial<Record<Goal, readonly Attack<TestInstallation>[]>>;
type NodeAttacks = Record<Goal, readonly [Attack<TestInstallation>, ...Attack<TestInstallation>[]]>;

async function open(members: readonly NodeRole[]): Promise<TestInstallation> {
  const system = await openCoalition(members);
  const [job, theirs, kept] = [
    await licensed(system, 20),
    await licensed(system, 1),
    await licensed(system, 5, SEGMENTS, 'keys'),
  ];
  return { ...system, job, kept, theirs };
}

/** Prints with an honest agent. Checks that what the machine took is a prefix of the design. */
async function printWhile(system: TestInstallation, job: Licensed, undo: () => void) {
  const agent = await system.agent(undefined, { settings: { stallMs: 400, giveUpMs: 2_000 } });
  const view = await printed(system, job.licence, 15_000).finally(undo);
  await agent.close();
  const taken = expectBeginning(agent, job.content);
  return { view, taken };
}

const readAttack = held<TestInstallation>(
  'searches all that it holds, and tries every key that it holds',
  'the design secret is sealed to the licensed machines, and never in the cloud',
  async (system) => {
    const agent = await system.agent();
    expect(await printed(system, system.job.licence)).toMatchObject({ state: 'completed' });
    await agent.close();
    expect(scan(await lootOf(system, system.job), system.job.content)).toEqual([]);
    expect(scan([{ name: 'machine', bytes: agent.executed() }], system.job.content)).not.toEqual([]);
    if (!system.has('keys')) return;
    // In addition to the content keys: every licence secret, and the design secret that is kept of another design.
    const { playbook, licences } = system.nodes.keys.parts;
    const other = await playbook.designSecret(system.kept.design);
    const tried = [
      new Uint8Array(32),
      await licences.secretOf(system.job.licence),
      ...(await keysOf(system, system.job)).map(({ cek }) => cek),
      ...(other === undefined ? [] : [other]),
    ];
    const sealed = await sealedOf(system, system.job);
    expect(await opened(system, system.job, sealed, tried)).toBe(0);
    // Positive control: with the owner’s secret the same cells and keys open completely.
    const secret = await ownDesignSecret(system.owner, await ownDesign(system.owner, system.job.design));
    expect(await opened(system, system.job, sealed, [secret])).toBe(SEGMENTS);
  },
);

const custodyRead = limit<TestInstallation>(
  'opens a design whose owner left the design secret with the keys node',
  'that is what custody `keys` means: it is chosen for each design, and shown with it',
  async (system) => {
    const secret = await system.nodes.keys.parts.playbook.designSecret(system.kept.design);
    if (secret === undefined) throw new Error('no secret in custody');
    expect(await opened(system, system.kept, await sealedOf(system, system.kept), [secret])).toBe(SEGMENTS);
  },
);

const alterAttack = held<TestInstallation>(
  'changes what passes through its hands, in every place at once',
  'MAC, AEAD, and the owner’s hash of every segment: the machine stops before it moves on a changed one',
  async (system) => {
    const { view, taken } = await printWhile(system, system.job, spoil(system));
    if (view.state === 'completed') expect(taken).toBe(system.job.content.length);
    else expect(view.code).toMatch(/^E_(SEAL|SEGMENT|FRAME_[A-Z]+|STARVED|CELL_DAMAGED)$/);
  },
);

const ownContent = held<TestInstallation>(
  'seals content of its own with the design’s own keys, the design secret included',
  'the machine compares each sealed segment with the hashes that the owner signed',
  async (system) => {
    const secret = await system.nodes.keys.parts.playbook.designSecret(system.kept.design);
    if (secret === undefined) throw new Error('no secret in custody');
    const undo = await forgeContent(system, system.kept, randomDesign(SEGMENTS * CONTENT_BYTES), secret);
    const { view, taken } = await printWhile(system, system.kept, undo);
    expect(view).toMatchObject({ state: 'failed' });
    expect(view.code).toMatch(/^E_(SEGMENT|SEAL)$/);
    expect(taken).toBe(0);
  },
);

const moreWithout = held<TestInstallation>(
  'opens a stream, and begins a session, without control',
  'a stream needs a permit that control has signed, and each permit serves once',
  async (system) => {
    const before = (await system.owner.api.licence(system.job.licence)).permitted;
    const agent = await system.agent();
    const { opening } = await forgeOpening(system, system.job);
    const changed = copyBytes(opening.permit);
    changed[changed.length >> 1] = (changed[changed.length >> 1] ?? 0) ^ 1;
    for (const role of ['keys', 'segments'] as const) {
      const open = system.nodes[role].parts.streams.open({ ...opening, permit: changed });
      expect(await outcomeOf(open), role).toMatch(/^E_(SIGNATURE|INPUT|PERMIT)$/);
    }
    for (const role of system.members)
      for (const call of ['call-home', 'next'])
        if (role !== 'distribution') {
          const path = `/v1/machines/${system.machine}/${call}`;
          const body = new Uint8Array([0xa0]);
          expect(await answerOf(system.call('control', role, { method: 'POST', path, body }))).toBe('E_AUTH');
        }
    await agent.close();
    expect(agent.runs).toEqual([]);
    expect((await system.owner.api.licence(system.job.licence)).permitted).toBe(before);
  },
);

/** The owner of another machine, who joins the coalition and has the licence and all its data. */
async function secretElsewhere(system: TestInstallation, key: MachineKey): Promise<string> {
  const record = await system.nodes.control.context.records.licences.require(system.job.licence);
  const licence = readTransaction(record.transaction);
  if (licence.type !== 'licence.grant') throw new Error('no licence');
  const binding = {
    installation: system.installation.directory.installation,
    licence: system.job.licence,
    design: system.job.design,
  };
  return outcomeOf(openDesignSecret(key, binding, licence.machines[0]?.secret ?? new Uint8Array()));
}

const elsewhereAttack = held<TestInstallation>(
  'helps the owner of another machine',
  'the design secret opens with the licensed machine’s key; the licence names machines and materials, under the owner’s signature',
  async (system) => {
    const thief = await loadMachineConfig(system.installation.layout.machine(ELSEWHERE));
    const own = await loadMachineConfig(system.installation.layout.machine('virtual-1'));
    expect(await secretElsewhere(system, thief.machineKey)).toBe('E_SEAL');
    expect(await secretElsewhere(system, own.machineKey)).toBe('accepted');
    if (!system.has('control')) return;
    refusedByAll(await judged(system, { machine: ELSEWHERE }), /^E_LICENCE_INVALID$/);
  },
);

const forgeWithout = held<TestInstallation>(
  'reports for the machine',
  'reports come over the machine’s link, under the machine’s signature; the log’s key is control’s',
  async (system) => {
    const agent = await system.agent();
    const { object = '' } = await printed(system, system.job.licence);
    await agent.close();
    const thief = await callAsMachine(system, ELSEWHERE);
    const body = encodeCbor({ report: await thief.report(object, 'completed') });
    thief.close();
    for (const role of system.members) {
      const path = `/v1/machines/${system.machine}/report`;
      expect(await answerOf(system.call('control', role, { method: 'POST', path, body }))).toMatch(
        /^E_(AUTH|SIGNATURE)$/,
      );
    }
  },
);

const tenantsAttack = held<TestInstallation>(
  'searches all that it holds for the contents of everybody’s designs',
  'every owner’s designs are sealed alike, each with a secret of its own',
  async (system) => {
    const loot = await lootOf(system, system.theirs);
    expect(loot.length).toBeGreaterThan(2);
    expect(scan(loot, system.theirs.content)).toEqual([]);
  },
);

const metadata = limit<TestInstallation>(
  'counts and compares',
  'size, pace, machine, material and time of every print are what the cloud works with',
  async (system) => {
    const { nodes, theirs } = system;
    const seen: number[] = [];
    if (system.has('control')) seen.push((await nodes.control.context.records.designs.require(theirs.design)).segments);
    if (system.has('keys')) seen.push((await keysOf(system, theirs)).length);
    if (system.has('segments')) seen.push((await nodes.segments.parts.designs.manifestOf(theirs.design)).segments);
    if (system.has('distribution')) {
      const before = system.relay.seen.length;
      const agent = await system.agent();
      await printed(system, theirs.licence);
      await agent.close();
      const passed = system.relay.seen.slice(before).filter(({ message }) => message.kind === 'frame');
      seen.push(passed.length);
    }
    for (const segments of seen) expect(segments).toBeGreaterThanOrEqual(SEGMENTS);
    expect(seen.length).toBe(system.members.length);
  },
);

const denyAttack = denialOnly<TestInstallation>(
  'does nothing any more',
  'nobody can be made to serve; nothing else is lost, and prints are made when it serves again',
  async (system) => {
    const undo = strike(system);
    const agent = await system.agent(undefined, { timing: { callMs: 800, offerMs: 800 } });
    const print = await order(system, system.operator, system.job.licence);
    await sleep(1_500);
    const { state } = await system.operator.api.print(print);
    expect(['queued', 'permitted']).toContain(state);
    expect(agent.runs).toEqual([]);
    undo();
    expect(await untilEnded(system.operator, print, 20_000)).toMatchObject({ state: 'completed' });
    await agent.close();
    expectTaken(agent, system.job.content);
  },
);

/** Sealed segments come from the cells, or from the frames and uploads at distribution. */
const readsCustody = (members: readonly NodeRole[]) =>
  members.includes('keys') && (members.includes('segments') || members.includes('distribution'));

function attacksOf(members: readonly NodeRole[], extra: Extra): NodeAttacks {
  const has = (...roles: readonly NodeRole[]) => roles.every((role) => members.includes(role));
  const allCount = has('control', 'keys', 'segments');
  const more: NodeAttacks['more'] = has('control')
    ? [moreAsControl, ...(allCount ? [againAsAll, moreAsAll] : [againAsControl])]
    : [moreWithout];
  const own: NodeAttacks = {
    read: [
      readAttack,
      ...(readsCustody(members) ? [custodyRead] : []),
      ...(has('control') ? [falseMachine] : []),
      ...(has('control') && !has('keys') ? [readAsOwner] : []),
    ],
    alter: [alterAttack, ...(has('keys', 'segments') ? [ownContent] : []), ...(has('control') ? [alterAsControl] : [])],
    more,
    elsewhere: [elsewhereAttack],
    forge: has('control') ? [forgeWithout, forgeAsControl] : [forgeWithout],
    tenants: [tenantsAttack, metadata],
    deny: [denyAttack],
  };
  const goals = Object.keys(own) as Goal[];
  return Object.fromEntries(
    goals.map((goal) => [goal, [...own[goal], ...(extra[goal] ?? [])]]),
  ) as unknown as NodeAttacks;
}

/** A coalition of nodes. */
export function nodes(
  name: string,
  holds: string,
  members: readonly NodeRole[],
  extra: Extra = {},
): Position<TestInstallation> {
  return {
    name,
    holds,
    open: () => open(members),
    close: (system) => system.close(),
    attacks: attacksOf(members, extra),
  };
}
