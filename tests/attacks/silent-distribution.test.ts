import { systemRandom, toHex } from '@millrace/base';
import { licensed, printed } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { forgeOpening } from '@millrace/testkit/adversary/opening';
import { afterAll, beforeAll, expect, it } from 'vitest';

// Control says of many permits, which are real, that their machines are connected to a distribution node that is away.

const AWAY = 'distribution-9';
const PERMITS = 20;

let system: HostileInstallation;
beforeAll(async () => {
  system = await openHostileInstallation();
});
afterAll(() => system?.close());

it('openings that wait for a distribution node hold up no machine of another', async () => {
  const job = await licensed(system, PERMITS + 1);
  const agent = await system.agent();
  const { mailbox } = system.nodes.control.context;
  for (let number = 2; number <= PERMITS + 1; number++) {
    const { opening } = await forgeOpening(system, job, { permit: { number } });
    const sent = opening as Parameters<typeof mailbox.sendOpening>[2]; // buffers of its own
    await mailbox.sendOpening(toHex(systemRandom(16)), job.design, sent, { over: AWAY });
  }
  // One after the other, they would wait for 3 s each, at both nodes, which is longer than this waits.
  expect(await printed(system, job.licence)).toMatchObject({ state: 'completed' });
  await agent.close();
});
