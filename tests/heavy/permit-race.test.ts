import { fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { toHex } from '@millrace/base';
import { enrol, type Job } from '@millrace/testkit/enrol';
import { shareOf } from '@millrace/testkit/share';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Four client processes race with 1,000 requests for N objects, for every N from 0 to 20 at the same time: signed print
// requests over TLS, and for each accepted print three runs of the machine that call home at once. A licence for no
// object cannot be granted, so N = 0 is a licence for one object that was permitted before the race. MILLRACE_KILLS takes
// a share of the numbers N.

const PROCESSES = 4;
const REQUESTS = 1_000;
const sizes = shareOf(Array.from({ length: 21 }, (_, n) => n));

interface Outcome {
  readonly licence: string;
  readonly step: 'print' | 'permit';
  readonly code: string;
  readonly print?: string;
}

interface Racer {
  call(task: 'prepare', data: object): Promise<void>;
  call(task: 'race'): Promise<Outcome[]>;
  call(task: 'callAgain', data: object): Promise<string[]>;
  close(): void;
}

const program = createRequire(import.meta.url).resolve('@millrace/testkit/racer.mjs');

function startRacer(): Racer {
  const child = fork(program, { execArgv: [] });
  let next = 0;
  const call = (task: string, data?: object) =>
    new Promise<never>((resolve, reject) => {
      const id = next++;
      const answer = (message: { id: number; result: never }) => {
        if (message.id !== id) return;
        child.off('message', answer);
        resolve(message.result);
      };
      child.on('message', answer);
      child.once('exit', (code) => reject(new Error(`a racer ended: ${code}`)));
      child.send({ id, task, data });
    });
  return { call, close: () => child.kill('SIGKILL') };
}

let system: TestInstallation;
/** By N. */
const jobs = new Map<number, Job>();
const racers: Racer[] = [];
let outcomes: Outcome[] = [];

beforeAll(async () => {
  system = await createTestInstallation({ start: ['control'] });
  for (const n of sizes) jobs.set(n, await enrol(system, { objects: Math.max(1, n), machines: PROCESSES }));
  const used = jobs.get(0);
  if (used !== undefined) expect((await used.callHome(await used.print(0), 0)).status).toBe(200);

  const secret = toHex((await system.session('operator')).user.signer.exportSecret());
  for (let i = 0; i < PROCESSES; i++) {
    const licences = [...jobs.values()].map(({ licence, machines }) => {
      const own = machines[i];
      if (own === undefined) throw new Error(`no machine ${i}`);
      return { licence, machine: own.machine, serial: own.serial, key: toHex(own.key.exportSecret()) };
    });
    const racer = startRacer();
    racers.push(racer);
    const { home, addresses } = system;
    const options = { home, control: addresses.control, secret, licences, requests: REQUESTS / PROCESSES };
    await racer.call('prepare', options);
  }
  outcomes = (await Promise.all(racers.map((racer) => racer.call('race')))).flat();
}, 600_000);
afterAll(() => {
  for (const racer of racers) racer.close();
  return system?.close();
});

const counted = (codes: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const code of codes) counts[code] = (counts[code] ?? 0) + 1;
  return counts;
};

const without = (counts: Record<string, number>) =>
  Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));

it.each(sizes)('%i objects: exactly as many are permitted', async (n) => {
  const job = jobs.get(n) as Job;
  const own = outcomes.filter(({ licence }) => licence === job.licence);
  const codesOf = (step: Outcome['step']) => counted(own.filter((one) => one.step === step).map(({ code }) => code));
  expect(codesOf('print')).toEqual(without({ accepted: n, E_LICENCE_EXHAUSTED: REQUESTS - n }));
  // Of three runs that call home for a print, one starts it.
  expect(codesOf('permit')).toEqual(without({ accepted: n, E_STATE: 2 * n }));
  const started = own.filter(({ step, code }) => step === 'permit' && code === 'accepted').map(({ print }) => print);
  expect(new Set(started).size).toBe(n);

  const granted = Math.max(1, n);
  expect(await job.owner.api.licence(job.licence)).toMatchObject({ objects: granted, permitted: granted });
  const objects = (await job.owner.api.objects()).filter(({ object }) => object.startsWith(job.licence));
  const names = Array.from({ length: granted }, (_, i) => `${job.licence}-${i + 1}`);
  expect(new Set(objects.map(({ object }) => object))).toEqual(new Set(names));
  for (const { events } of objects) expect(events.map(({ type }) => type)).toEqual(['ordered', 'permitted']);
});

it('the machines get no other permit for these prints, also after control was killed', async () => {
  await system.processes.control.restart();
  const prints = outcomes.flatMap(({ licence, step, code, print }) =>
    step === 'permit' && code === 'accepted' ? [{ licence, print }] : [],
  );
  expect(prints).toHaveLength(sizes.reduce((sum, n) => sum + n, 0));
  const again = (await Promise.all(racers.map((racer) => racer.call('callAgain', prints)))).flat();
  // Each print is for the machine of one process: the others are refused for that.
  expect(counted(again)).toEqual({ E_STATE: prints.length, E_FORBIDDEN: prints.length * (PROCESSES - 1) });
});
