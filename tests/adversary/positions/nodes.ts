import { copyBytes, encodeCbor, sleep } from '@millrace/base';
import { ownDesign, ownDesignSecret } from '@millrace/client';
import type { MachineKey } from '@millrace/identity';
import { type NodeRole, openDesignSecret, readTransaction } from '@millrace/protocol';
import { CONTENT_BYTES } from '@millrace/vault';
import { expect } from 'vitest';
import { loadMachineConfig } from '../../../packages/machine/src/agent/config.ts';
import { randomDesign } from '../../support/designs.ts';
import { order, untilEnded } from '../../support/job.ts';
import { scan } from '../../support/scan.ts';
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
  type World,
} from '../support/coalition.ts';
import {
  answerOf,
  expectBeginning,
  expectTaken,
  type Licensed,
  licensed,
  outcomeOf,
  printed,
} from '../support/honest.ts';
import { ELSEWHERE } from '../support/hostile-world.ts';
import { callAsMachine } from '../support/machine-calls.ts';
import { forgeOpening } from '../support/opening.ts';
import { type Attack, denialOnly, type Goal, held, limit, type Position } from '../support/position.ts';
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

type Extra = Partial<Record<Goal, readonly Attack<World>[]>>;
type NodeAttacks = Record<Goal, readonly [Attack<World>, ...Attack<World>[]]>;

async function open(members: readonly NodeRole[]): Promise<World> {
  const world = await openCoalition(members);
  const [job, theirs, kept] = [
    await licensed(world, 20),
    await licensed(world, 1),
    await licensed(world, 5, SEGMENTS, 'keys'),
  ];
  return { ...world, job, kept, theirs };
}

/** One print with an honest agent; what the machine took is checked to be the design's beginning. */
async function printWhile(world: World, job: Licensed, undo: () => void) {
  const agent = await world.agent(undefined, { settings: { stallMs: 400, giveUpMs: 2_000 } });
  const view = await printed(world, job.licence, 15_000).finally(undo);
  await agent.close();
  const taken = expectBeginning(agent, job.content);
  return { view, taken };
}

const readAttack = held<World>(
  'searches all that it holds, and tries every key that it holds',
  'the design secret is sealed to the licensed machines, and never in the cloud',
  async (world) => {
    const agent = await world.agent();
    expect(await printed(world, world.job.licence)).toMatchObject({ state: 'completed' });
    await agent.close();
    expect(scan(await lootOf(world, world.job), world.job.content)).toEqual([]);
    expect(scan([{ name: 'machine', bytes: agent.executed() }], world.job.content)).not.toEqual([]);
    if (!world.has('keys')) return;
    // Beside the content keys: every licence secret, and the secret that it keeps of another design.
    const { playbook, licences } = world.nodes.keys.parts;
    const other = await playbook.designSecret(world.kept.design);
    const tried = [
      new Uint8Array(32),
      await licences.secretOf(world.job.licence),
      ...(await keysOf(world, world.job)).map(({ cek }) => cek),
      ...(other === undefined ? [] : [other]),
    ];
    const sealed = await sealedOf(world, world.job);
    expect(await opened(world, world.job, sealed, tried)).toBe(0);
    // With the owner’s secret the same cells and keys open: all of them.
    const secret = await ownDesignSecret(world.owner, await ownDesign(world.owner, world.job.design));
    expect(await opened(world, world.job, sealed, [secret])).toBe(SEGMENTS);
  },
);

const custodyRead = limit<World>(
  'opens a design whose owner left the design secret with the keys node',
  'that is what custody `keys` means: it is chosen for each design, and shown with it',
  async (world) => {
    const secret = await world.nodes.keys.parts.playbook.designSecret(world.kept.design);
    if (secret === undefined) throw new Error('no secret in custody');
    expect(await opened(world, world.kept, await sealedOf(world, world.kept), [secret])).toBe(SEGMENTS);
  },
);

const alterAttack = held<World>(
  'changes what passes through its hands, in every place at once',
  'MAC, AEAD, and the owner’s hash of every segment: the machine stops before it moves on a changed one',
  async (world) => {
    const { view, taken } = await printWhile(world, world.job, spoil(world));
    if (view.state === 'completed') expect(taken).toBe(world.job.content.length);
    else expect(view.code).toMatch(/^E_(SEAL|SEGMENT|FRAME_[A-Z]+|STARVED|CELL_DAMAGED)$/);
  },
);

const ownContent = held<World>(
  'seals content of its own with the design’s own keys, the design secret included',
  'the machine compares each sealed segment with the hashes that the owner signed',
  async (world) => {
    const secret = await world.nodes.keys.parts.playbook.designSecret(world.kept.design);
    if (secret === undefined) throw new Error('no secret in custody');
    const undo = await forgeContent(world, world.kept, randomDesign(SEGMENTS * CONTENT_BYTES), secret);
    const { view, taken } = await printWhile(world, world.kept, undo);
    expect(view).toMatchObject({ state: 'failed' });
    expect(view.code).toMatch(/^E_(SEGMENT|SEAL)$/);
    expect(taken).toBe(0);
  },
);

const moreWithout = held<World>(
  'opens a stream, and begins a session, without control',
  'a stream needs a permit that control has signed, and each permit serves once',
  async (world) => {
    const before = (await world.owner.api.licence(world.job.licence)).permitted;
    const agent = await world.agent();
    const { opening } = await forgeOpening(world, world.job);
    const changed = copyBytes(opening.permit);
    changed[changed.length >> 1] = (changed[changed.length >> 1] ?? 0) ^ 1;
    for (const role of ['keys', 'segments'] as const) {
      const open = world.nodes[role].parts.streams.open({ ...opening, permit: changed });
      expect(await outcomeOf(open), role).toMatch(/^E_(SIGNATURE|INPUT|PERMIT)$/);
    }
    for (const role of world.members)
      for (const call of ['call-home', 'next'])
        if (role !== 'distribution') {
          const path = `/v1/machines/${world.machine}/${call}`;
          const body = new Uint8Array([0xa0]);
          expect(await answerOf(world.call('control', role, { method: 'POST', path, body }))).toBe('E_AUTH');
        }
    await agent.close();
    expect(agent.runs).toEqual([]);
    expect((await world.owner.api.licence(world.job.licence)).permitted).toBe(before);
  },
);

/** Another machine’s owner, who is in it too, and has the licence and all that the coalition has. */
async function secretElsewhere(world: World, key: MachineKey): Promise<string> {
  const record = await world.nodes.control.context.records.licences.require(world.job.licence);
  const licence = readTransaction(record.transaction);
  if (licence.type !== 'licence.grant') throw new Error('no licence');
  const binding = {
    installation: world.installation.directory.installation,
    licence: world.job.licence,
    design: world.job.design,
  };
  return outcomeOf(openDesignSecret(key, binding, licence.machines[0]?.secret ?? new Uint8Array()));
}

const elsewhereAttack = held<World>(
  'helps the owner of another machine',
  'the design secret opens with the licensed machine’s key; the licence names machines and materials, under the owner’s signature',
  async (world) => {
    const thief = await loadMachineConfig(world.installation.layout.machine(ELSEWHERE));
    const own = await loadMachineConfig(world.installation.layout.machine('virtual-1'));
    expect(await secretElsewhere(world, thief.machineKey)).toBe('E_SEAL');
    expect(await secretElsewhere(world, own.machineKey)).toBe('accepted');
    if (!world.has('control')) return;
    refusedByAll(await judged(world, { machine: ELSEWHERE }), /^E_LICENCE_INVALID$/);
  },
);

const forgeWithout = held<World>(
  'reports for the machine',
  'reports come over the machine’s link, under the machine’s signature; the log’s key is control’s',
  async (world) => {
    const agent = await world.agent();
    const { object = '' } = await printed(world, world.job.licence);
    await agent.close();
    const thief = await callAsMachine(world, ELSEWHERE);
    const body = encodeCbor({ report: await thief.report(object, 'completed') });
    thief.close();
    for (const role of world.members) {
      const path = `/v1/machines/${world.machine}/report`;
      expect(await answerOf(world.call('control', role, { method: 'POST', path, body }))).toMatch(
        /^E_(AUTH|SIGNATURE)$/,
      );
    }
  },
);

const tenantsAttack = held<World>(
  'searches all that it holds for the contents of everybody’s designs',
  'every owner’s designs are sealed alike, each with a secret of its own',
  async (world) => {
    const loot = await lootOf(world, world.theirs);
    expect(loot.length).toBeGreaterThan(2);
    expect(scan(loot, world.theirs.content)).toEqual([]);
  },
);

const metadata = limit<World>(
  'counts and compares',
  'size, pace, machine, material and time of every print are what the cloud works with',
  async (world) => {
    const { nodes, theirs } = world;
    const seen: number[] = [];
    if (world.has('control')) seen.push((await nodes.control.context.records.designs.require(theirs.design)).segments);
    if (world.has('keys')) seen.push((await keysOf(world, theirs)).length);
    if (world.has('segments')) seen.push((await nodes.segments.parts.designs.manifestOf(theirs.design)).segments);
    if (world.has('distribution')) {
      const before = world.relay.seen.length;
      const agent = await world.agent();
      await printed(world, theirs.licence);
      await agent.close();
      const passed = world.relay.seen.slice(before).filter(({ message }) => message.kind === 'frame');
      seen.push(passed.length);
    }
    for (const segments of seen) expect(segments).toBeGreaterThanOrEqual(SEGMENTS);
    expect(seen.length).toBe(world.members.length);
  },
);

const denyAttack = denialOnly<World>(
  'does nothing any more',
  'nobody can be made to serve; nothing else is lost, and prints are made when it serves again',
  async (world) => {
    const undo = strike(world);
    const agent = await world.agent(undefined, { timing: { callMs: 800, offerMs: 800 } });
    const print = await order(world, world.operator, world.job.licence);
    await sleep(1_500);
    const { state } = await world.operator.api.print(print);
    expect(['queued', 'permitted']).toContain(state);
    expect(agent.runs).toEqual([]);
    undo();
    expect(await untilEnded(world.operator, print, 20_000)).toMatchObject({ state: 'completed' });
    await agent.close();
    expectTaken(agent, world.job.content);
  },
);

/** Sealed segments come from the cells, or from what distribution relays and stages. */
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

/** Some of the nodes in one hand. */
export function nodes(name: string, holds: string, members: readonly NodeRole[], extra: Extra = {}): Position<World> {
  return {
    name,
    holds,
    open: () => open(members),
    close: (world) => world.close(),
    attacks: attacksOf(members, extra),
  };
}
