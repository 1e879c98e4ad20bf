import { copyBytes, utf8 } from '@millrace/base';
import { grantLicence, signNew } from '@millrace/client';
import { checkAsBuyer } from '@millrace/testkit/adversary/certificates';
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
} from '@millrace/testkit/adversary/honest';
import {
  ELSEWHERE,
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { denialOnly, held, limit, type Position } from '@millrace/testkit/adversary/position';
import { license, order, untilEnded, untilPrint } from '@millrace/testkit/job';
import { scan } from '@millrace/testkit/scan';
import { expect } from 'vitest';

interface TestInstallation extends HostileInstallation {
  readonly job: Licensed;
  readonly object: string;
  readonly print: string;
}

async function open(): Promise<TestInstallation> {
  const system = await openHostileInstallation();
  const job = await licensed(system, 8);
  return { ...system, job, ...(await made(system, job.licence)) };
}

const get = (system: TestInstallation, path: string) => system.call('control', 'operator', { method: 'GET', path });

const submit = async (system: TestInstallation, body: Parameters<typeof signNew>[1]) =>
  outcomeOf(system.operator.api.submit((await signNew(system.operator, body)).bytes));

export const operator: Position<TestInstallation> = {
  name: 'operator',
  holds: 'the key of the licence’s holder, the building and the machine’s spool; not the machine’s keys',
  open,
  close: (system) => system.close(),
  attacks: {
    read: [
      held(
        'asks for the design, its private part and its sealed segments',
        'a licence gives objects, not the design',
        async (system) => {
          const { design } = system.job;
          expect(await answerOf(get(system, `/v1/designs/${design}`))).toBe('E_FORBIDDEN');
          expect(await answerOf(get(system, `/v1/designs/${design}/private`))).toBe('E_FORBIDDEN');
          const segment = { method: 'GET', path: `/v1/uploads/${design}/0` };
          expect(await answerOf(system.call('distribution', 'operator', segment))).toBe('E_AUTH');
        },
      ),
      held(
        'searches everything that it may read',
        'licence, print, object and certificate say how much, not what',
        async (system) => {
          const paths = [
            `licences/${system.job.licence}`,
            `prints/${system.print}`,
            `objects/${system.object}`,
            `objects/${system.object}/certificate`,
            'ledger/checkpoint',
          ];
          const answers = await Promise.all(paths.map((path) => get(system, `/v1/${path}`)));
          for (const [i, { status, body, text }] of answers.entries()) {
            expect(status, paths[i]).toBe(200);
            expect(scan([{ name: paths[i] ?? '', bytes: body }], system.job.content)).toEqual([]);
            expect(text).not.toContain('design-1');
          }
          // Positive control: the same search finds what is present.
          const { object } = system;
          expect(answers.some(({ text }) => text.includes(object))).toBe(true);
          expect(scan([{ name: 'design', bytes: copyBytes(system.job.content) }], system.job.content)).not.toEqual([]);
        },
      ),
    ],
    alter: [
      held('repairs the design, changes its maintenance', 'each is the owner’s signature', async (system) => {
        const { design } = system.job;
        const path = `/v1/designs/${design}/repair`;
        const repair = system.call('control', 'operator', { method: 'POST', path, json: { segments: [0] } });
        expect(await answerOf(repair)).toBe('E_FORBIDDEN');
        expect(await submit(system, { type: 'design.maintenance', design, mode: 'delta' })).toBe('E_FORBIDDEN');
      }),
    ],
    more: [
      held(
        'presses print again and again, at once, and offers the same signature twice',
        'an object is taken by compare-and-swap; a transaction counts once',
        async (system) => {
          const licence = await license(system, system.owner, system.job.design, 2);
          const agent = await system.agent();
          const body = { type: 'print.request', licence, machine: system.machine } as const;
          const signed = await Promise.all(Array.from({ length: 10 }, () => signNew(system.operator, body)));
          const offered = await Promise.all(
            signed.flatMap(({ bytes }) => [bytes, bytes]).map((bytes) => outcomeOf(system.operator.api.submit(bytes))),
          );
          expect(offered).toContain('E_REPLAY');
          const prints = (await system.operator.api.prints()).filter((view) => view.licence === licence);
          const ends = await Promise.all(prints.map(({ print }) => untilEnded(system.operator, print, 30_000)));
          expect(ends.filter(({ state }) => state === 'completed')).toHaveLength(2);
          for (const { state, code } of ends)
            if (state !== 'completed')
              expect({ state, code }).toEqual({ state: 'refused', code: 'E_LICENCE_EXHAUSTED' });
          expect(await submit(system, body)).toBe('E_LICENCE_EXHAUSTED');
          await agent.close();
          expectTaken(agent, system.job.content, system.job.content);
          expect(await permitted(system, { licence })).toBe(2);
        },
      ),
    ],
    elsewhere: [
      held(
        'names a machine that the licence does not',
        'control, both proactive nodes and the licence’s machine list',
        async (system) => {
          const before = await permitted(system, system.job);
          const agent = await system.agent(ELSEWHERE);
          const body = { type: 'print.request', licence: system.job.licence, machine: system.elsewhere } as const;
          expect(await submit(system, body)).toBe('E_LICENCE_INVALID');
          await agent.close();
          expect(agent.runs).toEqual([]);
          expect(await permitted(system, system.job)).toBe(before);
        },
      ),
      held(
        'loads another material, as the machine’s settings say',
        'the request names the material, signed by the machine; no count is taken',
        async (system) => {
          const licence = await licenceForPla(system);
          const agent = await system.agent(SITE, { config: { material: 'ABS' } });
          expect(await printed(system, licence)).toMatchObject({ state: 'refused', code: 'E_MATERIAL' });
          await agent.close();
          expect(agent.runs).toEqual([]);
          expect(await permitted(system, { licence })).toBe(0);
        },
      ),
      limit(
        'loads another material than the settings say',
        'no machine here feels what is on its spool: the certificate says what was set, in words of the machine’s operator',
        async (system) => {
          const licence = await licenceForPla(system);
          // The spool has ABS. Nothing that the cloud or the agent can read says so.
          const agent = await system.agent(SITE, { config: { material: 'PLA' } });
          expect(await printed(system, licence)).toMatchObject({ state: 'completed' });
          await agent.close();
          expect(agent.runs).toHaveLength(1);
        },
      ),
    ],
    forge: [
      held(
        'writes another object’s name into a genuine certificate',
        'every entry is proven against the signed checkpoint',
        async (system) => {
          const genuine = await system.operator.api.certificate(system.object);
          await checkAsBuyer(system, genuine);
          const other = system.object.replace(/.-1$/, (end) => `${end[0] === '0' ? '1' : '0'}-1`);
          const forged = replaceAll(genuine, utf8(system.object), utf8(other));
          expect(forged).not.toEqual(genuine);
          expect(await outcomeOf(checkAsBuyer(system, forged))).toMatch(/^E_(CERTIFICATE|LEDGER_[A-Z]+)$/);
        },
      ),
    ],
    tenants: [
      held('reads what other owners have', 'lists hold what is the caller’s; the rest is refused', async (system) => {
        const theirs = await grantToTenant(system);
        for (const list of ['licences', 'prints', 'objects', 'designs']) {
          const { text } = await get(system, `/v1/${list}`);
          expect(text).not.toContain(theirs);
        }
        expect(await answerOf(get(system, `/v1/licences/${theirs}`))).toBe('E_FORBIDDEN');
      }),
    ],
    deny: [
      held(
        'queues prints without end',
        'what waits counts as what was permitted: no more than the licence has left',
        async (system) => {
          const licence = await license(system, system.owner, system.job.design, 2);
          const body = { type: 'print.request', licence, machine: system.machine } as const;
          const offered: string[] = [];
          for (let i = 0; i < 5; i++) offered.push(await submit(system, body));
          expect(offered).toEqual(['accepted', 'accepted', ...Array(3).fill('E_LICENCE_EXHAUSTED')]);
          const agent = await system.agent();
          const waiting = (await system.operator.api.prints()).filter((print) => print.licence === licence);
          for (const { print } of waiting) await untilEnded(system.operator, print, 20_000);
          await agent.close();
          expectTaken(agent, system.job.content, system.job.content);
        },
      ),
      held(
        'deletes the design, and clears an alarm that its machine raised',
        'each is the owner’s signature',
        async (system) => {
          const { design } = system.job;
          expect(await submit(system, { type: 'design.delete', design })).toBe('E_FORBIDDEN');
          expect(await submit(system, { type: 'alarm.clear', object: system.object })).toMatch(/^E_(FORBIDDEN|STATE)$/);
          expect(await system.owner.api.design(design)).toMatchObject({ state: 'stored' });
        },
      ),
      denialOnly(
        'pulls the machine’s plug in mid-print',
        'its own object is lost: it was permitted, and the ledger says failed',
        async (system) => {
          const job = await licensed(system, 1, 300);
          const agent = await system.agent();
          const print = await order(system, system.operator, job.licence);
          await untilPrint(system.operator, print, ({ state }) => state !== 'queued', 20_000);
          await until('the machine has begun', () => (agent.runs.at(-1)?.length ?? 0) >= 2 * SEGMENT);
          await agent.close();
          const again = await system.agent();
          expect(await untilEnded(system.operator, print, 20_000)).toMatchObject({ state: 'failed' });
          expect(expectBeginning(agent, job.content)).toBeLessThan(job.content.length);
          // Other prints are not affected, and there is no second object.
          expect(await printed(system, system.job.licence)).toMatchObject({ state: 'completed' });
          expect(await submit(system, { type: 'print.request', licence: job.licence, machine: system.machine })).toBe(
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

/** Licences of the owner for one object: for one material, and for another holder. */
const terms = (system: TestInstallation) => ({ design: system.job.design, objects: 1, days: 1 });
const licenceForPla = (system: TestInstallation) =>
  grantLicence(system.owner, { ...terms(system), machines: [SITE], materials: ['PLA'], holder: 'operator' });
const grantToTenant = (system: TestInstallation) =>
  grantLicence(system.owner, { ...terms(system), machines: [ELSEWHERE], materials: [], holder: 'tenant' });
