import { ownDesign, ownDesignSecret, type Session } from '@millrace/client';
import { openPlaybookIn } from '@millrace/cloud/admin';
import { millrace } from '@millrace/testkit/cli';
import { gcode } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

let system: TestInstallation;
let owner: Session;
let operator: Session;

beforeAll(async () => {
  system = await createTestInstallation({ machine: { factor: 300 }, maintenance: { periodMs: 60_000, density: 100 } });
  owner = await system.session('owner');
  operator = await system.session('operator');
});
afterAll(() => system?.close());

describe.each(['owner', 'keys'] as const)('a design in custody of the %s', (custody) => {
  it('is made, and its custody is shown', async () => {
    const content = gcode(60_000);
    const { design } = await store(system, owner, content, { name: `${custody}.gcode`, custody });
    expect(await owner.api.design(design)).toMatchObject({ custody });
    const listed = await millrace(system.home, 'design', 'list', '--json');
    expect(listed.json).toMatchObject({
      designs: expect.arrayContaining([expect.objectContaining({ design, custody })]),
    });
    const licence = await license(system, owner, design, 1);
    const rehearsed = await millrace(system.home, 'rehearse', '--licence', licence, '--json');
    expect(rehearsed.json).toMatchObject({ outcome: 'fits' });
    const print = await order(system, operator, licence);
    const view = await untilEnded(operator, print);
    expect(view).toMatchObject({ state: 'completed' });
    expect((await machineObject(system, objectOf(view))).sha256).toBe(hashOf(content));
  });

  it(
    custody === 'owner' ? 'leaves nothing of the secret with the keys node' : 'lies whole with the keys node',
    async () => {
      const { design } = await store(system, owner, gcode(20_000), { name: `${custody}-2.gcode`, custody });
      const secret = await ownDesignSecret(owner, await ownDesign(owner, design));
      await system.processes.keys.stop();
      const { playbook, close } = await openPlaybookIn(folderOf(system.installation, 'keys'));
      const held = await playbook.designSecret(design).catch((error: { code?: string }) => error.code);
      await close();
      await system.processes.keys.start();
      expect(held).toEqual(custody === 'owner' ? 'E_CELL_DAMAGED' : secret);
    },
  );
});
