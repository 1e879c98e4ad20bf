import { copyBytes, utf8 } from '@millrace/base';
import { grantLicence, signNew } from '@millrace/client';
import { expect } from 'vitest';
import { license, order, untilEnded, untilPrint } from '../../support/job.ts';
import { scan } from '../../support/scan.ts';
import { checkAsBuyer } from '../support/certificates.ts';
import {
  answerOf,
  expectBeginning,
  expectTaken,
  type Licensed,
  licensed,
  made,
  outcomeOf,
  permitted,
  printed,
  SEGMENT,
  until,
} from '../support/honest.ts';
import { ELSEWHERE, type HostileWorld, openHostileWorld, SITE } from '../support/hostile-world.ts';
import { denialOnly, held, limit, type Position } from '../support/position.ts';

interface World extends HostileWorld {
  readonly job: Licensed;
  readonly object: string;
  readonly print: string;
}

async function open(): Promise<World> {
  const world = await openHostileWorld();
  const job = await licensed(world, 8);
  return { ...world, job, ...(await made(world, job.licence)) };
}

const get = (world: World, path: string) => world.call('control', 'operator', { method: 'GET', path });

const submit = async (world: World, body: Parameters<typeof signNew>[1]) =>
  outcomeOf(world.operator.api.submit((await signNew(world.operator, body)).bytes));

export const operator: Position<World> = {
  name: 'operator',
  holds: 'the key of the licence’s holder, the building and the machine’s spool; not the machine’s keys',
  open,
  close: (world) => world.close(),
  attacks: {
    read: [
      held(
        'asks for the design, its private part and its sealed segments',
        'a licence gives objects, not the design',
        async (world) => {
          const { design } = world.job;
          expect(await answerOf(get(world, `/v1/designs/${design}`))).toBe('E_FORBIDDEN');
          expect(await answerOf(get(world, `/v1/designs/${design}/private`))).toBe('E_FORBIDDEN');
          const segment = { method: 'GET', path: `/v1/uploads/${design}/0` };
          expect(await answerOf(world.call('distribution', 'operator', segment))).toBe('E_AUTH');
        },
      ),
      held(
        'searches everything that it may read',
        'licence, print, object and certificate say how much, not what',
        async (world) => {
          const paths = [
            `licences/${world.job.licence}`,
            `prints/${world.print}`,
            `objects/${world.object}`,
            `objects/${world.object}/certificate`,
            'ledger/checkpoint',
          ];
          const answers = await Promise.all(paths.map((path) => get(world, `/v1/${path}`)));
          for (const [i, { status, body, text }] of answers.entries()) {
            expect(status, paths[i]).toBe(200);
            expect(scan([{ name: paths[i] ?? '', bytes: body }], world.job.content)).toEqual([]);
            expect(text).not.toContain('design-1');
          }
          // The same search finds what is there.
          const { object } = world;
          expect(answers.some(({ text }) => text.includes(object))).toBe(true);
          expect(scan([{ name: 'design', bytes: copyBytes(world.job.content) }], world.job.content)).not.toEqual([]);
        },
      ),
    ],
    alter: [
      held('repairs the design, changes its maintenance', 'each is the owner’s signature', async (world) => {
        const { design } = world.job;
        const path = `/v1/designs/${design}/repair`;
        const repair = world.call('control', 'operator', { method: 'POST', path, json: { segments: [0] } });
        expect(await answerOf(repair)).toBe('E_FORBIDDEN');
        expect(await submit(world, { type: 'design.maintenance', design, mode: 'delta' })).toBe('E_FORBIDDEN');
      }),
    ],
    more: [
      held(
        'presses print again and again, at once, and offers the same signature twice',
        'an object is taken by compare-and-swap; a transaction counts once',
        async (world) => {
          const licence = await license(world, world.owner, world.job.design, 2);
          const agent = await world.agent();
          const body = { type: 'print.request', licence, machine: world.machine } as const;
          const signed = await Promise.all(Array.from({ length: 10 }, () => signNew(world.operator, body)));
          const offered = await Promise.all(
            signed.flatMap(({ bytes }) => [bytes, bytes]).map((bytes) => outcomeOf(world.operator.api.submit(bytes))),
          );
          expect(offered).toContain('E_REPLAY');
          const prints = (await world.operator.api.prints()).filter((view) => view.licence === licence);
          const ends = await Promise.all(prints.map(({ print }) => untilEnded(world.operator, print, 30_000)));
          expect(ends.filter(({ state }) => state === 'completed')).toHaveLength(2);
          for (const { state, code } of ends)
            if (state !== 'completed')
              expect({ state, code }).toEqual({ state: 'refused', code: 'E_LICENCE_EXHAUSTED' });
          expect(await submit(world, body)).toBe('E_LICENCE_EXHAUSTED');
          await agent.close();
          expectTaken(agent, world.job.content, world.job.content);
          expect(await permitted(world, { licence })).toBe(2);
        },
      ),
    ],
    elsewhere: [
      held(
        'names a machine that the licence does not',
        'control, both proactive nodes and the licence’s machine list',
        async (world) => {
          const before = await permitted(world, world.job);
          const agent = await world.agent(ELSEWHERE);
          const body = { type: 'print.request', licence: world.job.licence, machine: world.elsewhere } as const;
          expect(await submit(world, body)).toBe('E_LICENCE_INVALID');
          await agent.close();
          expect(agent.runs).toEqual([]);
          expect(await permitted(world, world.job)).toBe(before);
        },
      ),
      held(
        'loads another material, as the machine’s settings say',
        'the request names the material, signed by the machine; no count is taken',
        async (world) => {
          const licence = await licenceForPla(world);
          const agent = await world.agent(SITE, { config: { material: 'ABS' } });
          expect(await printed(world, licence)).toMatchObject({ state: 'refused', code: 'E_MATERIAL' });
          await agent.close();
          expect(agent.runs).toEqual([]);
          expect(await permitted(world, { licence })).toBe(0);
        },
      ),
      limit(
        'loads another material than the settings say',
        'no machine here feels what is on its spool: the certificate says what was set, in words of the machine’s operator',
        async (world) => {
          const licence = await licenceForPla(world);
          // On the spool there is ABS; nothing that the cloud or the agent could look at says so.
          const agent = await world.agent(SITE, { config: { material: 'PLA' } });
          expect(await printed(world, licence)).toMatchObject({ state: 'completed' });
          await agent.close();
          expect(agent.runs).toHaveLength(1);
        },
      ),
    ],
    forge: [
      held(
        'writes another object’s name into a genuine certificate',
        'every entry is proven against the signed checkpoint',
        async (world) => {
          const genuine = await world.operator.api.certificate(world.object);
          await checkAsBuyer(world, genuine);
          const other = world.object.replace(/.-1$/, (end) => `${end[0] === '0' ? '1' : '0'}-1`);
          const forged = replaceAll(genuine, utf8(world.object), utf8(other));
          expect(forged).not.toEqual(genuine);
          expect(await outcomeOf(checkAsBuyer(world, forged))).toMatch(/^E_(CERTIFICATE|LEDGER_[A-Z]+)$/);
        },
      ),
    ],
    tenants: [
      held('reads what other owners have', 'lists hold what is the caller’s; the rest is refused', async (world) => {
        const theirs = await grantToTenant(world);
        for (const list of ['licences', 'prints', 'objects', 'designs']) {
          const { text } = await get(world, `/v1/${list}`);
          expect(text).not.toContain(theirs);
        }
        expect(await answerOf(get(world, `/v1/licences/${theirs}`))).toBe('E_FORBIDDEN');
      }),
    ],
    deny: [
      held(
        'queues prints without end',
        'what waits counts as what was permitted: no more than the licence has left',
        async (world) => {
          const licence = await license(world, world.owner, world.job.design, 2);
          const body = { type: 'print.request', licence, machine: world.machine } as const;
          const offered: string[] = [];
          for (let i = 0; i < 5; i++) offered.push(await submit(world, body));
          expect(offered).toEqual(['accepted', 'accepted', ...Array(3).fill('E_LICENCE_EXHAUSTED')]);
          const agent = await world.agent();
          const waiting = (await world.operator.api.prints()).filter((print) => print.licence === licence);
          for (const { print } of waiting) await untilEnded(world.operator, print, 20_000);
          await agent.close();
          expectTaken(agent, world.job.content, world.job.content);
        },
      ),
      held(
        'deletes the design, and clears an alarm that its machine raised',
        'each is the owner’s signature',
        async (world) => {
          const { design } = world.job;
          expect(await submit(world, { type: 'design.delete', design })).toBe('E_FORBIDDEN');
          expect(await submit(world, { type: 'alarm.clear', object: world.object })).toMatch(/^E_(FORBIDDEN|STATE)$/);
          expect(await world.owner.api.design(design)).toMatchObject({ state: 'stored' });
        },
      ),
      denialOnly(
        'pulls the machine’s plug in mid-print',
        'its own object is lost: it was permitted, and the ledger says failed',
        async (world) => {
          const job = await licensed(world, 1, 300);
          const agent = await world.agent();
          const print = await order(world, world.operator, job.licence);
          await untilPrint(world.operator, print, ({ state }) => state !== 'queued', 20_000);
          await until('the machine has begun', () => (agent.runs.at(-1)?.length ?? 0) >= 2 * SEGMENT);
          await agent.close();
          const again = await world.agent();
          expect(await untilEnded(world.operator, print, 20_000)).toMatchObject({ state: 'failed' });
          expect(expectBeginning(agent, job.content)).toBeLessThan(job.content.length);
          // Nobody else is stopped, and there is no second object.
          expect(await printed(world, world.job.licence)).toMatchObject({ state: 'completed' });
          expect(await submit(world, { type: 'print.request', licence: job.licence, machine: world.machine })).toBe(
            'E_LICENCE_EXHAUSTED',
          );
          await again.close();
        },
      ),
    ],
  },
};

function replaceAll(bytes: Uint8Array, from: Uint8Array, to: Uint8Array): Uint8Array {
  const text = Buffer.from(bytes).toString('latin1');
  return copyBytes(
    Buffer.from(text.replaceAll(Buffer.from(from).toString('latin1'), Buffer.from(to).toString('latin1')), 'latin1'),
  );
}

/** Licences of the owner for one object: of one material, and for somebody else. */
const terms = (world: World) => ({ design: world.job.design, objects: 1, days: 1 });
const licenceForPla = (world: World) =>
  grantLicence(world.owner, { ...terms(world), machines: [SITE], materials: ['PLA'], holder: 'operator' });
const grantToTenant = (world: World) =>
  grantLicence(world.owner, { ...terms(world), machines: [ELSEWHERE], materials: [], holder: 'tenant' });
