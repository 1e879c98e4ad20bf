import { copyBytes, systemRandom, toHex } from '@millrace/base';
import { builtInDrivers } from '@millrace/machine';
import {
  expectTaken,
  type Licensed,
  licensed,
  made,
  outcomeOf,
  permitted,
  printed,
} from '@millrace/testkit/adversary/honest';
import {
  ELSEWHERE,
  type HostileInstallation,
  openHostileInstallation,
  SITE,
} from '@millrace/testkit/adversary/hostile-installation';
import { callAsMachine } from '@millrace/testkit/adversary/machine-calls';
import { denialOnly, held, limit, type Position } from '@millrace/testkit/adversary/position';
import { order, untilEnded } from '@millrace/testkit/job';
import { expect } from 'vitest';

interface TestInstallation extends HostileInstallation {
  readonly job: Licensed;
  readonly theirs: Licensed;
  /** A completed object, its print, and the bytes that a hostile agent kept of it. */
  readonly object: string;
  readonly print: string;
  readonly captured: Uint8Array;
}

async function open(): Promise<TestInstallation> {
  const system = await openHostileInstallation();
  const [job, theirs] = [await licensed(system, 8), await licensed(system, 1)];
  return { ...system, job, theirs, ...(await made(system, job.licence)) };
}

/** A machine that runs without the cloud. */
async function makeOffline(content: Uint8Array): Promise<Uint8Array> {
  const taken: Uint8Array[] = [];
  const driver = await builtInDrivers().create(
    'sink',
    { serial: 'nobody’s', factor: 1, bytesPerSecond: 1e9 },
    { onExecuted: (bytes) => void taken.push(copyBytes(bytes)) },
  );
  await driver.connect({ serial: 'nobody’s' });
  await driver.begin();
  await driver.write(content);
  await driver.drain();
  await driver.close();
  return Buffer.concat(taken);
}

export const agent: Position<TestInstallation> = {
  name: 'agent',
  holds: 'the licensed machine’s keys, its memory and motor lines; code of its own',
  open,
  close: (system) => system.close(),
  attacks: {
    read: [
      limit(
        'keeps what it executes',
        'a machine has to have what it makes: whoever controls its memory or motor lines has that one job (row 21)',
        async ({ captured, job }) => {
          expect(Buffer.from(captured).equals(job.content)).toBe(true);
        },
      ),
      held(
        'calls home for a print that nobody pressed',
        'a stream begins with the holder’s signature',
        async (system) => {
          const machine = await callAsMachine(system, SITE);
          try {
            const { bytes } = await machine.request(toHex(systemRandom(16)));
            expect(await outcomeOf(machine.calls.callHome(bytes, machine.signal))).toBe('E_NOT_FOUND');
          } finally {
            machine.close();
          }
        },
      ),
    ],
    alter: [
      limit(
        'executes something else, and reports what it was told to make',
        'nobody but the machine feels what its motors do: the certificate carries the machine’s word, under its own key',
        async (system) => {
          const other: Uint8Array[] = [];
          const liar = await system.agent(SITE, {
            modules: {
              driver: async ({ kind, serial, profile }) => {
                const driver = await builtInDrivers().create(
                  kind,
                  { serial, ...profile },
                  { onExecuted: (bytes) => void other.push(copyBytes(bytes)) },
                );
                const write = driver.write.bind(driver);
                driver.write = (content, signal) => write(new Uint8Array(content.length), signal);
                return driver;
              },
            },
          });
          expect(await printed(system, system.job.licence)).toMatchObject({ state: 'completed' });
          await liar.close();
          expect(Buffer.concat(other).every((byte) => byte === 0)).toBe(true);
        },
      ),
    ],
    more: [
      held(
        'asks again for an object that it has made, in the same run and in others',
        'control and both proactive nodes remember the object',
        async (system) => {
          const before = await permitted(system, system.job);
          const machine = await callAsMachine(system, SITE);
          try {
            const { run } = await system.nodes.control.context.records.prints.require(system.print);
            const asked = [
              {},
              { from: 3 },
              { run: run ?? systemRandom(16) },
              { run: run ?? systemRandom(16), from: 3 },
            ];
            for (const changes of asked) {
              const { bytes } = await machine.request(system.print, changes);
              expect(await outcomeOf(machine.calls.callHome(bytes, machine.signal))).toMatch(/^E_(STATE|REPLAY)$/);
            }
          } finally {
            machine.close();
          }
          expect(await permitted(system, system.job)).toBe(before);
        },
      ),
      limit(
        'makes another from what it kept',
        'bytes that were captured are bytes: the count protects what comes from the cloud, and the certificate what counts as genuine',
        async ({ captured }) => {
          expect(Buffer.from(await makeOffline(captured)).equals(captured)).toBe(true);
        },
      ),
    ],
    elsewhere: [
      held(
        'says another serial number, or calls for another machine’s print',
        'licences name machines by key and registration',
        async (system) => {
          const machine = await callAsMachine(system, ELSEWHERE);
          const own = await callAsMachine(system, SITE);
          const print = await order(system, system.operator, system.job.licence);
          try {
            const theirs = await machine.request(print);
            expect(await outcomeOf(machine.calls.callHome(theirs.bytes, machine.signal))).toBe('E_FORBIDDEN');
            const lying = await own.request(print, { serial: machine.config.serial });
            expect(await outcomeOf(own.calls.callHome(lying.bytes, own.signal))).toBe('E_MACHINE_UNKNOWN');
          } finally {
            machine.close();
            own.close();
          }
          const honest = await system.agent();
          expect(await untilEnded(system.operator, print)).toMatchObject({ state: 'completed' });
          await honest.close();
        },
      ),
      limit(
        'feeds another machine, or another material, with what it is given',
        'the licensed machine is a key: whatever stands behind it is the operator’s word',
        async (system) => {
          const behind: Uint8Array[] = [];
          const adapter = await system.agent(SITE, {
            modules: {
              driver: async ({ kind, serial, profile }) => {
                const driver = await builtInDrivers().create(kind, { serial, ...profile });
                const write = driver.write.bind(driver);
                driver.write = async (content, signal) => {
                  behind.push(copyBytes(content));
                  await write(content, signal);
                };
                return driver;
              },
            },
          });
          expect(await printed(system, system.job.licence)).toMatchObject({ state: 'completed' });
          await adapter.close();
          expect(Buffer.concat(behind).equals(system.job.content)).toBe(true);
        },
      ),
    ],
    forge: [
      held(
        'reports objects that were never permitted, and other runs of one that was',
        'a report counts for the print and the run that control knows',
        async (system) => {
          const machine = await callAsMachine(system, SITE);
          try {
            for (const object of [`${system.job.licence}-8`, `${system.theirs.licence}-1`, system.object]) {
              const report = await machine.report(object, 'completed');
              expect(await outcomeOf(machine.calls.report(report, machine.signal))).toMatch(
                /^E_(NOT_FOUND|FORBIDDEN)$/,
              );
            }
          } finally {
            machine.close();
          }
        },
      ),
      held(
        'says completed without the owner’s MAC over what was executed',
        'completed counts only with the MAC of the design',
        async (system) => {
          const machine = await callAsMachine(system, SITE);
          try {
            const print = await order(system, system.operator, system.job.licence);
            const { bytes, body } = await machine.request(print);
            await machine.calls.callHome(bytes, machine.signal);
            const { object = '' } = await system.operator.api.print(print);
            for (const event of ['started', 'completed'] as const) {
              const report = await machine.report(object, event, { run: body.run });
              await outcomeOf(machine.calls.report(report, machine.signal));
            }
            expect(await system.operator.api.print(print)).toMatchObject({ state: 'failed', code: 'E_SEGMENT' });
          } finally {
            machine.close();
          }
        },
      ),
    ],
    tenants: [
      held(
        'asks for the print of a design that is licensed to nobody here',
        'the licence names machines',
        async (system) => {
          const machine = await callAsMachine(system, ELSEWHERE);
          const print = await order(system, system.operator, system.theirs.licence);
          try {
            const { bytes } = await machine.request(print);
            expect(await outcomeOf(machine.calls.callHome(bytes, machine.signal))).toBe('E_FORBIDDEN');
          } finally {
            machine.close();
          }
        },
      ),
    ],
    deny: [
      denialOnly(
        'takes its own print and never goes on',
        'its own object is used up; other machines and prints go on',
        async (system) => {
          const machine = await callAsMachine(system, SITE);
          const print = await order(system, system.operator, system.job.licence);
          const { bytes } = await machine.request(print);
          await machine.calls.callHome(bytes, machine.signal);
          machine.close();
          expect(await system.operator.api.print(print)).toMatchObject({ state: 'permitted' });
          const honest = await system.agent();
          const next = await printed(system, system.job.licence);
          await honest.close();
          expect(next).toMatchObject({ state: 'completed' });
          expectTaken({ runs: honest.runs.slice(-1) }, system.job.content);
        },
      ),
    ],
  },
};
