import { copyBytes } from '@millrace/base';
import { builtInDrivers } from '@millrace/machine';
import { type Licensed, licensed, printed } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { randomDesign } from '@millrace/testkit/designs';
import { scan } from '@millrace/testkit/scan';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 21: the attacker controls the machine's computer from the start. It gets all of its own job, a documented
// limit. The test also asserts that it gets nothing of designs that it does not make.

let system: HostileInstallation;
let job: Licensed;
let other: Licensed;
beforeAll(async () => {
  system = await openHostileInstallation();
  [job, other] = [await licensed(system, 1, 20), await licensed(system, 1, 20)];
});
afterAll(() => system?.close());

describe('an agent with its real keys and altered code', () => {
  it('captures 100 % of its own job and nothing of any other', async () => {
    const captured: Uint8Array[] = [];
    const thief = await system.agent(undefined, {
      modules: {
        driver: async ({ kind, serial, profile }) => {
          const driver = await builtInDrivers().create(kind, { serial, ...profile });
          const write = driver.write.bind(driver);
          driver.write = async (content, signal) => {
            captured.push(copyBytes(content));
            await write(content, signal);
          };
          return driver;
        },
      },
    });
    // Nobody can detect it: it works at the machine's pace, and reports the object as made.
    expect(await printed(system, job.licence)).toMatchObject({ state: 'completed' });
    await thief.close();
    const loot = Buffer.concat(captured);
    expect(loot.equals(job.content)).toBe(true);
    expect(scan([{ name: 'captured', bytes: loot }], other.content)).toEqual([]);
    // Positive control: the search finds it.
    expect(scan([{ name: 'captured', bytes: loot }], job.content)).not.toEqual([]);
    expect(scan([{ name: 'noise', bytes: randomDesign(100_000) }], job.content)).toEqual([]);
  });
});
