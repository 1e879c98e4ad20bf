import { utf8 } from '@millrace/base';
import { safetyPolicySchema } from '@millrace/gcode';
import { GrblSimulator } from '@millrace/testkit/controllers/grbl';
import { MarlinSimulator } from '@millrace/testkit/controllers/marlin';
import { MoonrakerSimulator } from '@millrace/testkit/controllers/moonraker';
import { OctoprintSimulator } from '@millrace/testkit/controllers/octoprint';
import { afterEach, describe, expect, it } from 'vitest';
import { builtInDrivers } from '../src/drivers/index.ts';
import { atSocket, onNetwork, print, type Served } from './controller-helpers.ts';

const safety = safetyPolicySchema.parse({
  version: 1,
  volume: { x: [0, 200], y: [0, 200], z: [0, 180] },
  home: { x: 0, y: 0, z: 0 },
  feed: { x: 12_000, y: 12_000, z: 1_200 },
  temperatures: { hotend: 250, bed: 100 },
  spindle: 10_000,
});

const serial = 'SAFE-1';
const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function start(kind: string, served: Served, settings: object = {}) {
  open.push(served);
  const driver = await builtInDrivers().create(kind, { serial, ...served.settings, ...settings }, { safety });
  open.push(driver);
  await driver.connect({ serial });
  return driver;
}

const printers = [
  ['marlin', () => new MarlinSimulator({ uuid: serial }), (d: unknown) => atSocket(d as MarlinSimulator)],
  ['moonraker', () => new MoonrakerSimulator({ board: serial }), (d: unknown) => onNetwork(d as MoonrakerSimulator)],
  ['octoprint', () => new OctoprintSimulator({ uuid: serial }), (d: unknown) => onNetwork(d as OctoprintSimulator)],
] as const;

describe('a machine with a safety policy', () => {
  it.each(printers)(
    '%s: gets every line before the one that violates it, and is stopped safely',
    async (kind, make, serve) => {
      const device = make();
      const driver = await start(kind, await serve(device));
      const lines = ['G28', 'M104 S200', 'G1 X10 Y10 Z5 F1000', 'G91', 'G1 X150', 'G1 X150', 'G90', 'G1 X20'];
      const printing = print(driver, utf8(`${lines.join('\n')}\n`));
      await expect(printing).rejects.toMatchObject({ code: 'E_SAFETY', data: { line: 6, rule: 'volume' } });
      // A run begins with G90, and the commands of the safe stop end with it.
      const { executed } = device;
      const isStopped = () => executed.filter((line) => line === 'G90').length === 2;
      await expect.poll(isStopped, { timeout: 20_000 }).toBe(true);
      // What the run before may have left is set back first.
      expect(executed.slice(0, executed.indexOf('G90')).join()).not.toContain('G28');
      expect(executed.filter((line) => line === 'G1 X150').length).toBeLessThanOrEqual(1);
      expect(executed).not.toContain('G1 X20');
      expect(executed).toContain(kind === 'moonraker' ? 'TURN_OFF_HEATERS' : 'M104 S0');
      // The machine is well: after another connect it works on.
      await driver.connect({ serial });
      await print(driver, utf8('G28\nG1 X10 F1000\n'));
      expect(device.executed).toContain('G1 X10 F1000');
    },
  );

  it('grbl: is checked in machine coordinates, with the work offsets that the controller has', async () => {
    const device = new GrblSimulator({ name: serial, homing: true });
    const driver = await start('grbl', await atSocket(device), { statusMs: 20 });
    // G54 is 10, 0, 5 and G55 is 50, 60, 5.
    await print(driver, utf8('M3 S5000\nG0 X190 Y200 Z1\nG55\nG0 X150 Y140\nM5\nM30\n'));
    expect(device.executed).toContain('G0X150Y140');
    for (const [program, rule] of [
      ['G0 X191', 'volume'],
      ['G55\nG0 X151', 'volume'],
      ['G53 G0 Z-1', 'volume'],
      ['M3 S10001', 'spindle'],
    ] as const) {
      device.clear();
      await driver.connect({ serial });
      const violation = print(driver, utf8(`M3 S5000\n${program}\n`));
      await expect(violation).rejects.toMatchObject({ code: 'E_SAFETY', data: { rule } });
      expect(device.executed.join('\n')).not.toMatch(/X191|X151|Z-1|S10001/);
      await expect.poll(() => device.spindle, { timeout: 20_000 }).toBe(false);
    }
  });

  it('grbl: refuses a mill whose coordinates have no fixed zero', async () => {
    const driver = await start('grbl', await atSocket(new GrblSimulator({ name: serial })), { statusMs: 20 });
    await expect(driver.begin()).rejects.toMatchObject({ code: 'E_SAFETY', data: { rule: 'position' } });
  });
});
