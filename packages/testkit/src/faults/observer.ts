import { sleep } from '@millrace/base';
import { auditLedger } from '@millrace/client';
import { openCheckpoint, parseVerifierKey } from '@millrace/ledger';
import { logKeysOf } from '@millrace/protocol';
import { expect } from 'vitest';
import { expectSoundStores, machineObjects } from '../audit.ts';
import { eventsOf, hashOf, machineObject, objectOf } from '../job.ts';
import type { TestInstallation } from '../test-installation.ts';
import { longestPause, recovery } from './activity.ts';
import { asSuccesses, commitsOf, type Load, type LoadOptions, takeoversOf } from './load.ts';

/** What an installation under load does, as it is seen from outside. */
export const activities = ['permits', 'streams', 'commits', 'uploads'] as const;
export type ActivityName = (typeof activities)[number];

/** Longest time until a report is in the ledger, ms. */
const REPORT_MS = 60_000;
/** Permits that are compared at once. */
const AT_ONCE = 16;

export interface Observer {
  /**
   * Waits until each activity was acknowledged for an operation that began after `since`. A stream counts when control
   * has heard of progress twice. @returns ms from `since`
   */
  goOn(since: number, names: readonly ActivityName[], limitMs: number): Promise<Map<ActivityName, number>>;
  /** Longest time without a commit that lasted until a moment after `since`, ms. */
  sweepPause(since: number): Promise<number>;
  /** Asserts what must hold whatever was lost. Call it when everything is back. */
  expectNothingLost(): Promise<void>;
}

/** @param options.keysLogs of every replica of the keys node */
export function createObserver(
  options: LoadOptions & { readonly load: Load; readonly keysLogs: readonly string[] },
): Observer {
  const { system, load, keysLogs, owner, operator, part } = options;
  const heads: { readonly size: number; readonly root: Uint8Array }[] = [];
  const commits = async () => asSuccesses(await commitsOf(keysLogs));
  const after = async (name: ActivityName, since: number) => {
    if (name === 'commits') return recovery(await commits(), since);
    if (name !== 'streams') return recovery(load.activities[name].successes, since);
    const [, progressed] = load.progress.filter((at) => at >= since);
    return progressed && progressed - since;
  };
  /** Notes the head of the ledger that control shows now. */
  const noteHead = async () => {
    const logKey = logKeysOf(owner.directory, owner.clock.now()).map(parseVerifierKey);
    const { size, root } = openCheckpoint(await owner.api.checkpoint(), { logKey });
    heads.push({ size, root });
  };
  /** Of all that happened since it was called last. */
  const expectUnbroken = () => {
    for (const activity of Object.values(load.activities)) expect(activity.takeBroken(), activity.name).toEqual([]);
  };
  return {
    goOn: async (since, names, limitMs) => {
      const found = new Map<ActivityName, number>();
      for (const end = Date.now() + limitMs; ; await sleep(200)) {
        expectUnbroken();
        for (const name of names) {
          const ms = found.has(name) ? undefined : await after(name, since);
          if (ms !== undefined) found.set(name, ms);
        }
        if (found.size === names.length) return found;
        if (Date.now() < end) continue;
        const waited = names.filter((name) => !found.has(name));
        throw new Error(`${waited.join(', ')} did not go on within ${limitMs / 1_000} s`);
      }
    },
    sweepPause: async (since) =>
      longestPause(
        (await commits()).map(({ ended }) => ended),
        since,
      ),
    expectNothingLost: async () => {
      expectUnbroken();
      for (const each of [load.licence, load.permitLicence]) {
        const { objects, permitted } = await owner.api.licence(each);
        expect(permitted).toBeLessThanOrEqual(objects);
      }
      await expectParts(system, load, hashOf(part));
      await expectReported(system, load, owner);
      await expectPermits(load, operator);
      for (const design of load.acknowledged.designs)
        expect(await owner.api.design(design)).toMatchObject({ state: 'stored' });
      // Epochs are committed in order. A commit is durable with the next write: if the active replica is lost before it,
      // the one that takes over (the same one, if it was started again) sends the last message of the sweep once more.
      const commits = await commitsOf(keysLogs);
      for (const [i, { epoch }] of commits.entries()) expect(epoch).toBeGreaterThanOrEqual(commits[i - 1]?.epoch ?? 0);
      const repeated = commits.length - new Set(commits.map(({ epoch }) => epoch)).size;
      expect(repeated).toBeLessThanOrEqual(await takeoversOf(keysLogs));
      // The ledger extends every head that was seen before; the vault has neither missing nor damaged cells.
      await noteHead();
      const ignored = () => undefined;
      await auditLedger(owner, ignored, ignored, heads);
      await expectSoundStores(system, owner);
    },
  };
}

/** Every part that was made is the design, and each has a number of its own. */
async function expectParts(system: TestInstallation, { acknowledged }: Load, sha256: string): Promise<void> {
  const objects = acknowledged.prints.map(objectOf);
  expect(new Set(objects).size).toBe(objects.length);
  for (const object of objects)
    expect(await machineObject(system, object)).toMatchObject({ event: 'completed', sha256 });
}

/** What the machine says of each object that it has begun gets into the ledger. */
async function expectReported(system: TestInstallation, { checked }: Load, owner: LoadOptions['owner']): Promise<void> {
  for (const { object, event } of await machineObjects(system)) {
    if (checked.reported.has(object)) continue;
    const reported = expect.arrayContaining(['started', event]);
    await expect.poll(() => eventsOf(owner, object), { timeout: REPORT_MS, message: object }).toEqual(reported);
    if (event === 'completed') checked.reported.add(object);
  }
}

/** Every permit that a machine got is in records and ledger, once, for an object of its own within the licence. */
async function expectPermits({ acknowledged, checked }: Load, operator: LoadOptions['operator']): Promise<void> {
  const given = acknowledged.permits.slice(checked.permits);
  for (let at = 0; at < given.length; at += AT_ONCE)
    await Promise.all(
      given.slice(at, at + AT_ONCE).map(async ({ print, licence, permit }) => {
        expect(checked.permitOf.get(print) ?? permit, `permits of ${print}`).toBe(permit);
        checked.permitOf.set(print, permit);
        const { object, state } = await operator.api.print(print);
        if (object === undefined) throw new Error(`the print ${print} was permitted and has no object (${state})`);
        expect(object.startsWith(licence)).toBe(true);
        expect(checked.printOf.get(object) ?? print, `prints of ${object}`).toBe(print);
        checked.printOf.set(object, print);
        const { events } = await operator.api.object(object);
        expect(
          events.filter(({ type }) => type === 'permitted'),
          object,
        ).toHaveLength(1);
      }),
    );
  checked.permits += given.length;
}
