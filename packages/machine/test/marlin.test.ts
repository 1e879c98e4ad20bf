import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { toHex, utf8 } from '@millrace/base';
import { type MarlinFaults, MarlinSimulator } from '@millrace/testkit/controllers/marlin';
import { missingPty, serveOnPty } from '@millrace/testkit/controllers/serve';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtInDrivers } from '../src/drivers/index.ts';
import { marlinDriver } from '../src/drivers/marlin/registration.ts';
import { atSocket, complies, moves, print, reached, sha256, starts } from './controller-helpers.ts';

const serial = '2f0a-marlin-1';
/** Short times, so that faults are found quickly. */
const quick = { serial, okMs: 100, settleMs: 20, reportMs: 200 };

describe('the marlin driver', () => {
  complies(marlinDriver, serial, {
    slow: { serve: () => atSocket(new MarlinSimulator({ uuid: serial, emergencyParser: true, msPerSecond: 100 })) },
    fast: { serve: () => atSocket(new MarlinSimulator({ uuid: serial, emergencyParser: true })) },
  });
});

describe('a print on a printer with Marlin', () => {
  const start = starts<MarlinSimulator>('marlin', quick, atSocket);

  it.each<[string, ConstructorParameters<typeof MarlinSimulator>[0]]>([
    ['plain', {}],
    ['with advanced ok', { advancedOk: true }],
    ['without heaters', { heaters: false }],
  ])('%s executes exactly the bytes of the design', async (_, options) => {
    const design = moves(1_500);
    const device = new MarlinSimulator({ uuid: serial, ...options });
    const driver = await start(device);
    await print(driver, design);
    expect(device.program).toBe(Buffer.from(design).toString());
    const { executedBytes, sha256: hash, lines } = driver.summary();
    expect([executedBytes, toHex(hash), lines]).toEqual([design.length, sha256(design), 1_500]);
    expect(device.damaged).toBe(0);
    expect(driver.capabilities.heaters).toEqual(options?.heaters === false ? [] : ['hotend', 'bed']);
    const box = driver.telemetry().position;
    expect(Math.hypot(box.x - 50, box.y - 50)).toBeCloseTo(40, 2);
  });

  const noise: readonly (readonly [string, MarlinFaults])[] = [
    ['damages lines', { damageEvery: 13 }],
    ['damages lines and repeats its requests', { damageEvery: 17, storm: 4 }],
    ['loses acknowledgements', { loseOkEvery: 29 }],
    ['sends noise and echoes', { garbageEvery: 3, echo: true }],
    ['does all of that', { damageEvery: 23, storm: 3, loseOkEvery: 41, garbageEvery: 5, echo: true }],
  ];
  for (const okAfterResend of [true, false])
    it.each(noise)(`a printer that %s (${okAfterResend ? 'older' : 'newer'} Marlin)`, async (_, faults) => {
      const design = moves(300);
      const device = new MarlinSimulator({ uuid: serial, okAfterResend, faults });
      const driver = await start(device);
      await print(driver, design);
      expect(device.sha256).toBe(sha256(design));
      expect(toHex(driver.summary().sha256)).toBe(sha256(design));
      if (faults.damageEvery !== undefined) expect(device.damaged).toBeGreaterThan(5);
    });

  it('strips comments, numbers and checksums of the file, and skips what the firmware does not know', async () => {
    const device = new MarlinSimulator({ uuid: serial });
    const driver = await start(device);
    await print(driver, utf8('; head\n%\nN7 G1 X1 Y2 *13 ; tail\n(a) G1 (b)X3\r\n\nM9999 S1\nM117 Layer (1)\n  G4 P0'));
    expect(device.program).toBe('G1 X1 Y2\nG1 X3\nM9999 S1\nM117 Layer (1)\nG4 P0\n');
    expect(driver.summary()).toMatchObject({ unknownCommands: 1 });
  });

  it('waits for temperature without an ok, and shows it', async () => {
    const device = new MarlinSimulator({ uuid: serial, msPerSecond: 30 });
    const driver = await start(device);
    await driver.begin();
    await driver.write(utf8('M109 S210\nG1 X5\n'));
    const draining = driver.drain();
    await reached(driver, ({ executedBytes }) => executedBytes > 0);
    await draining;
    expect(driver.telemetry().temperatures.hotend).toMatchObject({ target: 210 });
    expect(device.program).toBe('M109 S210\nG1 X5\n');
  });

  it('fails when the printer was reset, and never goes on by itself', async () => {
    const device = new MarlinSimulator({ uuid: serial, faults: { resetAt: 60 } });
    const driver = await start(device);
    await expect(print(driver, moves(500))).rejects.toMatchObject({
      code: 'E_MACHINE',
      message: expect.stringContaining('reset'),
    });
    expect(driver.telemetry()).toMatchObject({ state: 'failed' });
    const { length } = device.executed;
    await driver.connect({ serial });
    expect(device.executed.slice(length).filter((command) => command.startsWith('G1'))).toEqual([]);
    expect(driver.telemetry()).toMatchObject({ state: 'idle' });
  });

  it('fails with the cause that the firmware reports', async () => {
    const driver = await start(new MarlinSimulator({ uuid: serial, faults: { thermalAt: 50 } }));
    await expect(print(driver, moves(500))).rejects.toMatchObject({
      code: 'E_MACHINE',
      message: expect.stringContaining('thermal runaway'),
    });
  });

  it('is paused by the printer, says why and what to do, and goes on when somebody confirms', async () => {
    const device = new MarlinSimulator({ uuid: serial, msPerSecond: 10, faults: { runoutAt: 40 } });
    const driver = await start(device);
    const design = moves(200);
    const printing = print(driver, design);
    await reached(driver, ({ state }) => state === 'paused');
    expect(driver.telemetry().pause).toEqual({
      actor: 'controller',
      cause: 'the filament has run out',
      nextStep: 'continue at the printer’s display, or resume the run',
    });
    await reached(driver, () => device.waitsForUser);
    device.confirm();
    device.say('//action:resumed');
    await printing;
    expect(device.sha256).toBe(sha256(design));
  });

  it('stays paused when the operator has paused it too, whoever continues it at the printer', async () => {
    const device = new MarlinSimulator({ uuid: serial, msPerSecond: 10, faults: { runoutAt: 40 } });
    const driver = await start(device);
    const design = moves(200);
    const printing = print(driver, design);
    await reached(driver, ({ state }) => state === 'paused');
    await reached(driver, () => device.waitsForUser);
    const pause = { actor: 'operator', cause: 'the door stays shut', nextStep: 'resume' } as const;
    await driver.pause(pause);
    await expect(driver.pause(pause)).rejects.toMatchObject({ code: 'E_STATE' });
    device.confirm();
    device.say('//action:resumed');
    await reached(driver, () => !device.waitsForUser);
    const { length } = device.executed;
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(driver.telemetry()).toMatchObject({ state: 'paused', pause });
    expect(device.executed.length - length).toBeLessThan(40); // what it had already
    await driver.resume();
    await printing;
    expect(device.sha256).toBe(sha256(design));
  });

  it('is cancelled at the printer', async () => {
    const device = new MarlinSimulator({ uuid: serial, faults: { cancelAt: 40 } });
    const driver = await start(device);
    await expect(print(driver, moves(5_000))).rejects.toMatchObject({ message: expect.stringContaining('cancelled') });
    expect(device.target).toEqual({ hotend: 0, bed: 0 });
  });

  it.each([true, false])('stops safely in the middle of heating (emergency parser: %s)', async (emergencyParser) => {
    const device = new MarlinSimulator({ uuid: serial, emergencyParser, msPerSecond: 1_000_000 });
    const driver = await start(device);
    await driver.begin();
    await driver.write(utf8('M140 S60\nM109 S210\nG1 X5\n'));
    await reached(driver, ({ executedBytes }) => executedBytes >= 9);
    await driver.cancel();
    expect(driver.telemetry()).toMatchObject({ state: 'idle', temperatures: { hotend: { target: 0 } } });
    expect(device.executed.slice(-9)).toEqual(expect.arrayContaining(['M104 S0', 'M140 S0', 'M107', 'G1 Z5 F300']));
    expect(device.target).toEqual({ hotend: 0, bed: 0 });
    await print(driver, utf8('G1 X7\n'));
    expect(device.executed).toContain('G1 X7');
  });

  it('stops in an emergency without waiting for the queue', async () => {
    const device = new MarlinSimulator({ uuid: serial, emergencyParser: true, msPerSecond: 1_000_000 });
    const driver = await start(device);
    await driver.begin();
    await driver.write(utf8('M109 S210\nG1 X5\n'));
    const draining = expect(driver.drain()).rejects.toMatchObject({ code: 'E_MACHINE' });
    await reached(driver, ({ bufferedBytes }) => bufferedBytes === 0);
    await driver.emergencyStop();
    await draining;
    expect(driver.telemetry()).toMatchObject({ state: 'stopped', temperatures: { hotend: { target: 0 } } });
    await reached(driver, () => device.halted);
    expect(device.executed).not.toContain('G1 X5');
  });

  it.each([
    ['M28 design.gco', 'card'],
    ['M928 log.txt', 'card'],
    ['M117 M110 N3', 'line numbers'],
    [`G1 X1 ${'Y1 '.repeat(40)}`, 'bytes'],
    ['G1 X', ''],
    ['F1200', 'without a command'],
    ['G90 G1 X3', 'two commands'],
  ])('refuses %s before it is sent, and stops safely', async (line, why) => {
    const device = new MarlinSimulator({ uuid: serial });
    const driver = await start(device);
    await expect(print(driver, utf8(`M104 S200\n${line}\nG1 X9\n`))).rejects.toMatchObject({
      code: 'E_GCODE',
      message: expect.stringMatching(new RegExp(`^line 2: .*${why}`)),
    });
    await reached(driver, () => device.executed.includes('M104 S0'));
    expect(device.executed).not.toContain(line);
    expect(device.executed).not.toContain('G1 X9');
  });

  it('is not connected to another printer, nor to one without a serial number unless that is trusted', async () => {
    await expect(start(new MarlinSimulator({ uuid: 'other' }))).rejects.toMatchObject({ code: 'E_MACHINE_UNKNOWN' });
    await expect(start(new MarlinSimulator())).rejects.toMatchObject({
      code: 'E_MACHINE_UNKNOWN',
      message: expect.stringContaining('trustSerial'),
    });
    expect(await start(new MarlinSimulator(), { trustSerial: true })).toMatchObject({ kind: 'marlin' });
  });

  it('says that nobody answers', async () => {
    const silent = Object.assign(new MarlinSimulator(), { input: () => undefined, reset: () => undefined });
    await expect(start(silent, { connectMs: 50 })).rejects.toMatchObject({
      code: 'E_MACHINE',
      message: expect.stringContaining('does not answer'),
    });
  });
});

const noPty = missingPty();
describe(`a printer at a serial port${noPty === undefined ? '' : ` (skipped: ${noPty})`}`, () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'millrace-pty-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it.skipIf(noPty !== undefined)('is found, loses bytes, is unplugged, and is plugged in again', async () => {
    const device = new MarlinSimulator({ uuid: serial, faults: { damageEvery: 31 } });
    const path = join(folder, 'usb-Simulator-if00');
    let served = await serveOnPty(device, path);
    const driver = await builtInDrivers().create('marlin', { ...quick, port: path });
    try {
      expect(await driver.connect({ serial })).toMatchObject({
        firmware: expect.stringContaining('Marlin 2.1.2'),
        serial,
      });
      device.clear();
      const design = moves(400);
      await print(driver, design);
      expect(device.sha256).toBe(sha256(design));

      const failing = expect(print(driver, moves(100_000))).rejects.toMatchObject({
        code: 'E_MACHINE',
        message: expect.stringContaining('unplugged'),
      });
      await reached(driver, ({ executedBytes }) => executedBytes > 1_000);
      await served.unplug();
      await failing;
      await expect(driver.connect({ serial })).rejects.toMatchObject({ code: 'E_MACHINE' });
      served = await serveOnPty(device, path);
      await driver.connect({ serial });
      device.clear();
      await print(driver, design);
      expect(device.sha256).toBe(sha256(design));
    } finally {
      await driver.close();
      await served.close();
    }
  });
});
