import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateP256Key } from '@millrace/identity';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openOdometer } from '../src/agent/odometer.ts';
import type { Telemetry } from '../src/drivers/contract.ts';

const signer = { key: generateP256Key(), installation: 'ab'.repeat(16) };
let folder: string;
let machine: { odometer: number; machineSeconds: number; spindleSeconds?: number };
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace odometer '));
  machine = { odometer: 0, machineSeconds: 0 };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const open = (filament = {}) =>
  openOdometer(folder, signer, { telemetry: () => machine as Telemetry, spool: { filament } });

it('counts motion, material and objects, also across restarts', async () => {
  const first = await open();
  expect(await first.read()).toEqual({ minutes: 0, metres: 0, grams: 0, started: 0, ended: 0 });
  await first.begin();
  for (const [odometer, machineSeconds] of [
    [900, 61.7],
    [2_500, 130.2],
  ] as const) {
    machine = { odometer, machineSeconds };
    await first.read();
  }
  await first.end();
  // 2.5 m of PLA, 1.75 mm and 1.24 g/cm³: 7.456 g.
  expect(await first.read()).toEqual({ minutes: 2, metres: 2, grams: 7, started: 1, ended: 1 });
  expect(first.used).toEqual({ metres: 3, grams: 8 });
  await first.begin();
  machine = { odometer: 2_600, machineSeconds: 3 };
  await first.end();
  expect(first.used).toEqual({ metres: 1, grams: 1 });
  // The agent starts again; so does the counter of the machine, which is lower now.
  machine = { odometer: 0, machineSeconds: 0 };
  const second = await open();
  await second.begin();
  machine = { odometer: 500, machineSeconds: 50 };
  expect(await second.read()).toEqual({ minutes: 3, metres: 3, grams: 9, started: 3, ended: 2 });
});

it('counts the minutes of a spindle, also across runs and restarts', async () => {
  const first = await open();
  await first.begin();
  machine = { odometer: 0, machineSeconds: 100, spindleSeconds: 90.5 };
  await first.read();
  machine = { odometer: 0, machineSeconds: 130, spindleSeconds: 119.7 };
  await first.end();
  expect(await first.read()).toEqual({ minutes: 2, spindle: 1, metres: 0, grams: 0, started: 1, ended: 1 });
  await first.begin();
  machine = { odometer: 0, machineSeconds: 70, spindleSeconds: 60.4 };
  await first.end();
  machine = { odometer: 0, machineSeconds: 0, spindleSeconds: 0 };
  expect(await (await open()).read()).toMatchObject({ minutes: 3, spindle: 3, ended: 2 });
});

it('also counts what the machine made while the agent was off, if its counter tells', async () => {
  const first = await open();
  machine = { odometer: 1_000, machineSeconds: 0 };
  await first.read();
  machine = { odometer: 5_500, machineSeconds: 0 };
  expect((await (await open()).read()).metres).toBe(5);
});

it('computes grams with the diameter and the density of the spool', async () => {
  const odometer = await open({ diameter: 2_850, density: 1_270 });
  await odometer.begin();
  machine = { odometer: 10_000, machineSeconds: 0 };
  await odometer.end();
  // 10 m × 6.379 mm² × 1.27 g/cm³ = 81.02 g.
  expect(odometer.used.grams).toBe(82);
  expect((await odometer.read()).grams).toBe(81);
});

it('goes back with a restored file, and refuses an edited one', async () => {
  const path = join(folder, 'odometer.state');
  const first = await open();
  await first.begin();
  await cp(path, `${path}.old`);
  await first.end();
  expect((await first.read()).ended).toBe(1);
  await cp(`${path}.old`, path);
  expect(await (await open()).read()).toMatchObject({ started: 1, ended: 0 });
  const other = { ...signer, key: generateP256Key() };
  const telemetry = () => machine as Telemetry;
  await expect(openOdometer(folder, other, { telemetry, spool: { filament: {} } })).rejects.toMatchObject({
    code: 'E_STORE',
  });
});
