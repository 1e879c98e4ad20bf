import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toHex, utf8 } from '@millrace/base';
import { GrblSimulator } from '@millrace/testkit/controllers/grbl';
import { missingPty, serveOnPty } from '@millrace/testkit/controllers/serve';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { grblDriver } from '../src/drivers/grbl/registration.ts';
import { builtInDrivers } from '../src/drivers/index.ts';
import { atSocket, complies, print, reached, sha256, starts } from './controller-helpers.ts';

const serial = 'MILL-7';
const quick = { serial, statusMs: 20 };

/** A program without blanks and comments, so that Grbl receives exactly its bytes. */
function contour(lines: number): Uint8Array {
  const text = ['G21', 'G90', 'M3S8000', 'G0Z5', 'F140'];
  for (let n = 1; text.length < lines - 1; n += 1) text.push(`G1X${n % 90}.125Y${(n * 7) % 80}.25Z-1F400`);
  text.push('M5');
  return utf8(`${text.join('\n')}\n`);
}

describe('the grbl driver', () => {
  const settings = { statusMs: 20 };
  complies(
    grblDriver,
    serial,
    {
      slow: { serve: () => atSocket(new GrblSimulator({ name: serial, msPerSecond: 100, homing: true })), settings },
      fast: { serve: () => atSocket(new GrblSimulator({ name: serial })), settings },
    },
    'G4 P1',
  );
});

describe('a run on a mill with Grbl', () => {
  const start = starts<GrblSimulator>('grbl', quick, atSocket);

  it.each([{}, { garbageEvery: 3 }])(
    'executes exactly the bytes of the design, from a full buffer %o',
    async (faults) => {
      const design = contour(1_000);
      const device = new GrblSimulator({ name: serial, faults });
      const driver = await start(device);
      await print(driver, design);
      expect(device.program).toBe(Buffer.from(design).toString());
      expect(toHex(driver.summary().sha256)).toBe(sha256(design));
      expect(device.overflowed).toBe(0);
      expect(driver.capabilities).toMatchObject({ heaters: [], filament: false, layers: false });
    },
  );

  it('keeps the buffer of the controller full while it moves, and never overflows it', async () => {
    const device = new GrblSimulator({ name: serial, moveMs: 2 });
    const driver = await start(device);
    const design = contour(120);
    await print(driver, design);
    expect(device.sha256).toBe(sha256(design));
    expect(device.overflowed).toBe(0);
    expect(device.fullest).toBeGreaterThan(90);
  });

  it('says where it stands without a move, a mode or a tool length, once it is homed', async () => {
    const device = new GrblSimulator({ name: serial, homing: true });
    const driver = await start(device);
    await expect(driver.frame?.()).rejects.toMatchObject({ code: 'E_STATE', message: expect.stringContaining('home') });
    device.state = 'Idle';
    const before = device.executed.length;
    const none = [0, 0, 0];
    expect(await driver.frame?.()).toEqual({
      position: [10, 0, 5],
      origin: [10, 0, 5],
      systems: [[10, 0, 5], [50, 60, 5], none, none, none, none],
      homes: true,
    });
    expect(device.executed.slice(before)).toEqual(['$#']);
    await driver.begin();
    await expect(driver.frame?.()).rejects.toMatchObject({ code: 'E_STATE' });
  });

  it('reports the position in the work coordinates of the machine', async () => {
    const device = new GrblSimulator({ name: serial });
    const driver = await start(device);
    await print(driver, utf8('G1 X7 Y8 Z-1 F100\n'));
    await reached(driver, ({ position }) => position.x === 7);
    expect(driver.telemetry().position).toEqual({ x: 7, y: 8, z: -1 });
  });

  it('homes a machine that is in alarm before the run, unless its settings say otherwise', async () => {
    const device = new GrblSimulator({ name: serial, homing: true });
    const driver = await start(device);
    expect(device.state).toBe('Alarm');
    await print(driver, utf8('G0 X1\n'));
    expect(device.executed).toContain('$H');
    await driver.close();
    const refusing = await start(device, { onAlarm: 'refuse' });
    await expect(refusing.begin()).rejects.toMatchObject({
      code: 'E_MACHINE',
      message: expect.stringContaining('alarm'),
    });
  });

  it.each([
    [{ errorAt: 40 }, 'E_GCODE', 'a code that it does not support'],
    [{ alarmAt: 40 }, 'E_MACHINE', 'a limit switch was hit'],
    [{ resetAt: 40 }, 'E_MACHINE', 'was reset'],
  ])('fails with its cause, and switches the spindle off: %o', async (faults, code, why) => {
    const device = new GrblSimulator({ name: serial, moveMs: 1, faults });
    const driver = await start(device);
    await expect(print(driver, contour(500))).rejects.toMatchObject({ code, message: expect.stringContaining(why) });
    expect(driver.telemetry().state).toBe('failed');
    await reached(driver, () => !device.spindle);
    const { length } = device.executed;
    await driver.connect({ serial });
    expect(device.executed.slice(length).every((line) => line.startsWith('$'))).toBe(true);
  });

  it.each(['Door', 'Hold'] as const)('is paused at the machine (%s), and goes on from there', async (state) => {
    const device = new GrblSimulator({ name: serial, moveMs: 2, faults: state === 'Door' ? { doorAt: 40 } : {} });
    const driver = await start(device);
    const design = contour(200);
    const printing = print(driver, design);
    await reached(driver, ({ executedBytes }) => executedBytes > 500);
    if (state === 'Hold') device.hold();
    await reached(driver, (telemetry) => telemetry.state === 'paused');
    expect(driver.telemetry().pause).toMatchObject({
      actor: 'person',
      nextStep: expect.stringContaining('cycle start'),
    });
    device.press();
    await printing;
    expect(device.sha256).toBe(sha256(design));
  });

  it('holds on the way, and resumes', async () => {
    const device = new GrblSimulator({ name: serial, moveMs: 2 });
    const driver = await start(device);
    const design = contour(300);
    const printing = print(driver, design);
    await reached(driver, ({ executedBytes }) => executedBytes > 1_000);
    await driver.pause({ actor: 'person', cause: 'a look at the tool', nextStep: 'resume' });
    expect(device.state).toBe('Hold');
    expect(driver.telemetry().pause).toMatchObject({ cause: 'a look at the tool' });
    await driver.resume();
    await printing;
    expect(device.sha256).toBe(sha256(design));
  });

  it('is cancelled by a hold and a reset, without losing its position', async () => {
    const device = new GrblSimulator({ name: serial, moveMs: 5 });
    const driver = await start(device, { stopCommands: ['G53 G0 Z0'] });
    await driver.begin();
    await driver.write(contour(500));
    await reached(driver, () => device.spindle && device.state === 'Run');
    await driver.cancel();
    expect(driver.telemetry()).toMatchObject({ state: 'idle', bufferedBytes: 0 });
    expect([device.spindle, device.state]).toEqual([false, 'Idle']);
    expect(device.executed).toContain('G53G0Z0');
    device.clear();
    await print(driver, contour(20));
    expect(device.sha256).toBe(sha256(contour(20)));
  });

  it('stops in an emergency, which puts it in alarm', async () => {
    const device = new GrblSimulator({ name: serial, moveMs: 1_000_000 });
    const driver = await start(device);
    await driver.begin();
    await driver.write(contour(500));
    await reached(driver, () => device.spindle && device.state === 'Run');
    await driver.emergencyStop();
    await reached(driver, () => device.state === 'Alarm');
    expect(device.spindle).toBe(false);
    expect(driver.telemetry().state).toBe('stopped');
  });

  it('refuses a canned cycle before the line is sent, and stops', async () => {
    const device = new GrblSimulator({ name: serial });
    const driver = await start(device);
    await expect(print(driver, utf8('M3 S1\nG0 Z5\nG81 X1 Z-1 R1 F10\n'))).rejects.toMatchObject({
      code: 'E_GCODE',
      message: expect.stringContaining('line 3: a canned cycle'),
    });
    await reached(driver, () => device.program === 'M3S1\nG0Z5\n');
    await reached(driver, () => !device.spindle);
    expect(device.program).toBe('M3S1\nG0Z5\n');
  });

  it('is not connected to another machine', async () => {
    await expect(start(new GrblSimulator({ name: 'MILL-8' }))).rejects.toMatchObject({ code: 'E_MACHINE_UNKNOWN' });
  });
});

const noPty = missingPty();
describe(`a mill at a serial port${noPty === undefined ? '' : ` (skipped: ${noPty})`}`, () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-pty-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it.skipIf(noPty !== undefined)('executes exactly the bytes of the design', async () => {
    const device = new GrblSimulator({ name: serial });
    const served = await serveOnPty(device, join(folder, 'mill'));
    const driver = await builtInDrivers().create('grbl', { ...quick, port: served.port });
    try {
      expect(await driver.connect({ serial })).toMatchObject({ serial, firmware: 'Grbl 1.1h.20190830' });
      device.clear();
      const design = contour(300);
      await print(driver, design);
      expect([device.sha256, device.overflowed]).toEqual([sha256(design), 0]);
    } finally {
      await driver.close();
      await served.close();
    }
  });
});
