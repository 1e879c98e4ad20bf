import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { anyBytes, builtInDrivers, canMake, loadDriverModule } from '../src/drivers/index.ts';

// Imports nothing of Millrace: a driver's package brings its own zod.
const press = `
  export const loaded = [];
  export const driver = {
    kind: 'press',
    capabilities: { formats: ['steps'], heaters: [], position: true, lines: false, layers: false, filament: false },
    settings: { safeParse: (data) => (data.serial ? { success: true, data } : { success: false, error: { issues: [] } }) },
    settingsFor: ({ factor }) => ({ tons: factor }),
    load: async () => {
      loaded.push('press');
      return { create: (settings) => ({ kind: 'press', settings, close: async () => undefined }) };
    },
  };
`;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace driver '));
  await writeFile(join(folder, 'press.mjs'), press);
  await writeFile(join(folder, 'none.mjs'), 'export const machine = 1;');
  await writeFile(join(folder, 'bad.mjs'), press.replace("'press'", "'Press!'"));
  await writeFile(join(folder, 'broken.mjs'), 'throw new Error("broken");');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('the driver registry', () => {
  it('has the drivers of this package, and accepts others', async () => {
    const drivers = builtInDrivers();
    expect(drivers.kinds).toEqual(['grbl', 'marlin', 'moonraker', 'octoprint', 'sink', 'virtual']);
    const path = join(folder, 'press.mjs');
    const { loaded } = (await import(path)) as { loaded: string[] };
    drivers.add(await loadDriverModule('./press.mjs', folder));
    expect(drivers.kinds).toEqual(['grbl', 'marlin', 'moonraker', 'octoprint', 'press', 'sink', 'virtual']);
    expect(loaded).toEqual([]);
    const settings = { serial: 'P1', ...drivers.get('press').settingsFor({ factor: 3 }) };
    expect(await drivers.create('press', settings)).toMatchObject({ settings: { serial: 'P1', tons: 3 } });
    expect(loaded).toEqual(['press']);
    expect(builtInDrivers().has('press')).toBe(false);
    await expect(drivers.create('press', {})).rejects.toMatchObject({ code: 'E_INPUT' });
  });

  it('rejects a kind without a driver, and a second driver of a kind', async () => {
    const drivers = builtInDrivers();
    expect(() => drivers.get('press')).toThrow(expect.objectContaining({ code: 'E_NOT_FOUND' }));
    const other = await loadDriverModule(join(folder, 'press.mjs'), '/');
    drivers.add(other);
    expect(() => drivers.add(other)).toThrow(expect.objectContaining({ code: 'E_CONFIG' }));
  });

  it.each([
    ['a module that is not there', './missing.mjs', 'missing.mjs'],
    ['a package that is not there', '@nobody/no-such-driver', '@nobody/no-such-driver'],
    ['a module that fails', './broken.mjs', 'broken.mjs'],
    ['a module without a driver', './none.mjs', 'driver'],
    ['a kind that is no name', './bad.mjs', 'driver.kind'],
  ])('rejects %s', async (_, specifier, named) => {
    await expect(loadDriverModule(specifier, folder)).rejects.toMatchObject({
      code: 'E_CONFIG',
      message: expect.stringContaining(named),
    });
  });
});

describe('the formats of a machine', () => {
  it('limit what it can make; a machine that takes any bytes makes everything', () => {
    expect(canMake({ formats: ['gcode'] }, 'gcode')).toBe(true);
    expect(canMake({ formats: ['gcode'] }, 'binary')).toBe(false);
    expect(canMake({ formats: ['gcode', 'steps'] }, 'steps')).toBe(true);
    for (const kind of ['gcode', 'binary', 'steps']) expect(canMake({ formats: [anyBytes] }, kind)).toBe(true);
  });
});
