import { systemRandom } from '@millrace/base';
import { enrol, type Job } from '@millrace/testkit/enrol';
import type { Answer } from '@millrace/testkit/http';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 17: a thousand racers for one object, through the real control node. 17-begun-again tests that both proactive
// nodes count for themselves; tests/e2e/second-copy tests a restored machine.

const RACERS = 1_000;
/** Concurrent connections: each has its own TLS handshake. */
const AT_ONCE = 100;

let system: TestInstallation;
beforeAll(async () => {
  system = await createTestInstallation({ start: ['control'] });
});
afterAll(() => system?.close());

async function race<T>(racer: (i: number) => Promise<T>): Promise<T[]> {
  const outcomes: T[] = [];
  let next = 0;
  const lane = async () => {
    for (let i = next++; i < RACERS; i = next++) outcomes.push(await racer(i));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return outcomes;
}

const codeOf = ({ status, error }: Answer): string =>
  status === 200 ? 'accepted' : (error?.code ?? `status ${status}`);

const counted = (codes: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const code of codes) counts[code] = (counts[code] ?? 0) + 1;
  return counts;
};

/** The objects of the licence in the ledger, with the events of each. */
async function inLedger({ owner, licence }: Job): Promise<string[][]> {
  const objects = (await owner.api.objects()).filter(({ object }) => object.startsWith(licence));
  return objects.map(({ events }) => events.map(({ type }) => type));
}

describe(`${RACERS} racers for one object`, () => {
  let job: Job;
  let print: string;
  beforeAll(async () => {
    job = await enrol(system, { objects: 1, machines: 2 });
  });

  it('request a print: one succeeds, the others get an error code', async () => {
    const outcomes = await race(async (i) => {
      const machine = job.machines[i % 2]?.machine ?? '';
      const transaction = await job.sign(job.operator, { type: 'print.request', licence: job.licence, machine });
      return job.submit('operator', transaction);
    });
    expect(counted(outcomes.map(codeOf))).toEqual({ accepted: 1, E_LICENCE_EXHAUSTED: RACERS - 1 });
    const [accepted] = outcomes.filter(({ status }) => status === 200);
    print = (JSON.parse(accepted?.text ?? '{}') as { print: string }).print;
  });

  it('call home for that print with different runs: one object is permitted once', async () => {
    const view = await job.operator.api.print(print);
    const machine = job.machines.findIndex((own) => own.machine === view.machine);
    const homes = await race(async () =>
      job.callHome(print, machine, await job.request(print, machine, { run: systemRandom(16) })),
    );
    expect(homes.filter(({ given }) => given !== undefined)).toHaveLength(1);
    const refused = counted(homes.filter(({ given }) => given === undefined).map(codeOf));
    expect(refused).toEqual({ E_STATE: RACERS - 1 });
    expect(await inLedger(job)).toEqual([['ordered', 'permitted']]);
  });

  it('get no further permit after control was killed and restarted', async () => {
    await system.processes.control.kill();
    await system.processes.control.start();
    const machine = job.machines[0]?.machine ?? '';
    const transaction = await job.sign(job.operator, { type: 'print.request', licence: job.licence, machine });
    expect(codeOf(await job.submit('operator', transaction))).toBe('E_LICENCE_EXHAUSTED');
    expect(await job.owner.api.licence(job.licence)).toMatchObject({ objects: 1, permitted: 1 });
    expect(await inLedger(job)).toEqual([['ordered', 'permitted']]);
  });
});
