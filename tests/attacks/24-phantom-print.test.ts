import { systemRandom } from '@millrace/base';
import { signTransaction } from '@millrace/protocol';
import { type Licensed, licensed, outcomeOf } from '@millrace/testkit/adversary/honest';
import { type HostileInstallation, openHostileInstallation } from '@millrace/testkit/adversary/hostile-installation';
import { asMachine, forgeOpening } from '@millrace/testkit/adversary/opening';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// Row 24: a lying control node, with its real keys, permits a print now that its holder requested hours ago and that
// nobody expects any more. The machine must not start to move.

const MINUTE = 60_000;
let system: HostileInstallation;
let job: Licensed;
beforeAll(async () => {
  system = await openHostileInstallation();
  job = await licensed(system, 9);
});
afterAll(() => system?.close());

/** What the machine and each proactive node answer to a permit for a print requested `minutes` ago. */
async function permitted(minutes: number, number: number): Promise<Record<string, string>> {
  const { operator, installation, machine } = system;
  const issued = Date.now() - minutes * MINUTE;
  const print = await signTransaction(operator.signer, installation.directory.installation, {
    type: 'print.request',
    id: systemRandom(16),
    issued,
    expires: issued + 15 * MINUTE,
    licence: job.licence,
    machine,
  });
  const forged = await forgeOpening(system, job, { print, permit: { number } });
  const says: Record<string, string> = { machine: await outcomeOf(asMachine(forged)) };
  for (const role of ['keys', 'segments'] as const)
    says[role] = await outcomeOf(system.nodes[role].parts.streams.open(forged.opening));
  return says;
}

describe('control permits a print', () => {
  it('baseline: within its time, and all parties accept it', async () => {
    expect(await permitted(1, 1)).toEqual({ machine: 'accepted', keys: 'accepted', segments: 'accepted' });
  });

  it('hours after its time: neither the machine nor a proactive node starts', async () => {
    for (const minutes of [90, 600])
      expect(await permitted(minutes, 2)).toEqual({ machine: 'E_EXPIRED', keys: 'E_EXPIRED', segments: 'E_EXPIRED' });
  });
});
