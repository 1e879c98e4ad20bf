import { toHex, utf8 } from '@millrace/base';
import { MoonrakerSimulator } from '@millrace/testkit/controllers/moonraker';
import { describe, expect, it } from 'vitest';
import { Batches } from '../src/drivers/controller/batches.ts';
import { jsonWith } from '../src/drivers/controller/json-text.ts';
import { boardSerial, parseMessage, parseOutput, parseStatus } from '../src/drivers/moonraker/parser.ts';
import { moonrakerDriver } from '../src/drivers/moonraker/registration.ts';
import { complies, moves, onNetwork, print, reached, sha256, starts, withKeyFile } from './controller-helpers.ts';

const serial = '2B00340012504B46';

describe('messages of Moonraker', () => {
  it.each([
    ['// Unknown command:"FOO"', { type: 'unknown-command' }],
    ['// action:paused', { type: 'action', action: 'paused' }],
    // Klipper quotes the line: its text is not passed on.
    ['!! Move out of range: 999.000 2.000', { type: 'fault', cause: 'a move out of range' }],
    ['!! Malformed command G1 X12', { type: 'fault', cause: 'Klipper reports an error: see its console' }],
    ['// probe at 1,2 is z=0.1', { type: 'other' }],
    ['ok', { type: 'other' }],
  ])('output %s', (line, output) => {
    expect(parseOutput(line)).toEqual(output);
  });

  it('are read, whatever else they contain', () => {
    expect(parseMessage('{"jsonrpc":"2.0","id":4,"result":"ok"}')).toEqual({ id: 4, result: 'ok' });
    expect(parseMessage('not json')).toBeUndefined();
    expect(parseMessage('{"id":"x"}')).toBeUndefined();
    expect(parseStatus({ extruder: { temperature: 201.5, power: 1 }, fan: {} })).toEqual({
      extruder: { temperature: 201.5 },
    });
    expect(parseStatus({ extruder: 7 })).toBeUndefined();
  });

  it('name the board of the printer', () => {
    expect(boardSerial({ serial: `/dev/serial/by-id/usb-Klipper_stm32f446xx_${serial}-if00` })).toBe(serial);
    expect(boardSerial({ serial: '/dev/serial/by-id/usb-1a86_USB_Serial-if00-port0' })).toBeUndefined();
    expect(boardSerial({ serial: '/dev/serial/by-id/usb-1a86_USB2.0-Serial-if00-port0' })).toBeUndefined();
    expect(boardSerial({ canbus_uuid: '11aa22bb33cc' })).toBe('11aa22bb33cc');
    expect(boardSerial({ serial: '/dev/ttyAMA0' })).toBeUndefined();
    expect(boardSerial(undefined)).toBeUndefined();
  });

  it('are written around the bytes of a design', () => {
    const texts = ['G1 X1', 'M117 "a\\b"'].map(utf8);
    const json = Buffer.from(jsonWith('{"s":"', texts, '\\n', '"}')).toString();
    expect(JSON.parse(json)).toEqual({ s: 'G1 X1\nM117 "a\\b"' });
  });
});

describe('batches', () => {
  it('send the first command at once, and collect while one is out', () => {
    const sent: string[][] = [];
    const send = (_: number, commands: readonly Uint8Array[]) =>
      void sent.push(commands.map((command) => Buffer.from(command).toString()));
    const batches = new Batches({ lines: 3, inFlight: 1, send });
    batches.add(utf8('a'));
    expect(sent).toEqual([['a']]);
    for (const command of ['b', 'c', 'd']) {
      expect(batches.hasRoom).toBe(true);
      batches.add(utf8(command));
      expect(sent).toHaveLength(1);
    }
    expect(batches.hasRoom).toBe(false);
    expect(batches.answered(7)).toBe(0);
    expect(batches.answered(1)).toBe(1);
    expect(sent).toEqual([['a'], ['b', 'c', 'd']]);
    expect([batches.isEmpty, batches.answered(2), batches.answered(2), batches.isEmpty]).toEqual([false, 3, 0, true]);
  });
});

describe('the moonraker driver', () => {
  const window = { lines: 2, requests: 1 };
  complies(moonrakerDriver, serial, {
    slow: { serve: () => onNetwork(new MoonrakerSimulator({ board: serial, msPerSecond: 100 })), settings: { window } },
    fast: { serve: () => onNetwork(new MoonrakerSimulator({ board: serial })) },
  });
});

describe('a print on a printer with Klipper', () => {
  const start = starts<MoonrakerSimulator>('moonraker', { serial }, onNetwork);

  it.each([false, true])('executes exactly the bytes of the design, in batches (chatter: %s)', async (chatter) => {
    const design = moves(2_000);
    const device = new MoonrakerSimulator({ board: serial, faults: { chatter } });
    const driver = await start(device);
    await print(driver, design);
    expect(device.program).toBe(Buffer.from(design).toString());
    expect(toHex(driver.summary().sha256)).toBe(sha256(design));
    expect(device.largest).toBeGreaterThan(8);
    expect(device.largest).toBeLessThanOrEqual(32);
    expect(driver.capabilities.heaters).toEqual(['hotend', 'bed']);
    await reached(driver, ({ temperatures }) => temperatures.hotend?.target === 205);
  });

  it('counts commands that Klipper does not know, although it answers with success', async () => {
    const device = new MoonrakerSimulator({ board: serial });
    const driver = await start(device);
    await print(driver, utf8('UNKNOWN_MACRO A=1\nG1 X1 F600\nM9999\nM117 "quoted" \\ text\n'));
    expect(driver.summary().unknownCommands).toBe(2);
    expect(device.program).toBe('UNKNOWN_MACRO A=1\nG1 X1 F600\nM9999\nM117 "quoted" \\ text\n');
  });

  it.each([
    [{ errorAt: 40 }, 'a move out of range'],
    [{ shutdownAt: 40 }, 'shut down'],
    [{ restartAt: 40 }, 'restarted'],
    [{ dropAt: 40 }, 'has ended'],
  ])('fails with its cause, which does not quote the design: %o', async (faults, why) => {
    const device = new MoonrakerSimulator({ board: serial, faults });
    const driver = await start(device);
    const failure = await print(driver, moves(5_000)).catch((error: Error) => error);
    expect(failure).toMatchObject({ code: 'E_MACHINE', message: expect.stringContaining(why) });
    expect((failure as Error).message).not.toMatch(/G1|X\d/);
    expect(driver.telemetry().state).toBe('failed');
    if ('errorAt' in faults) await reached(driver, () => device.target.extruder === 0);
  });

  it('is paused by Klipper, and goes on when somebody resumes', async () => {
    const device = new MoonrakerSimulator({ board: serial, faults: { runoutAt: 60 } });
    const driver = await start(device);
    const design = moves(2_000);
    const printing = print(driver, design);
    await reached(driver, ({ state }) => state === 'paused');
    expect(driver.telemetry().pause).toMatchObject({
      actor: 'controller',
      nextStep: expect.stringContaining('resume'),
    });
    device.resume();
    await printing;
    expect(device.sha256).toBe(sha256(design));
  });

  it('is cancelled with heaters off, and can be stopped in an emergency', async () => {
    const device = new MoonrakerSimulator({ board: serial, msPerSecond: 5 });
    const driver = await start(device);
    await driver.begin();
    await driver.write(utf8(`M109 S210\n${'G4 S1\n'.repeat(200)}`));
    await reached(driver, ({ executedBytes }) => executedBytes > 20);
    await driver.cancel();
    expect(device.target).toEqual({ extruder: 0, heater_bed: 0 });
    expect(device.executed).toContain('TURN_OFF_HEATERS');
    await driver.begin();
    await driver.write(utf8(`M104 S210\n${'G4 S1\n'.repeat(200)}`));
    await reached(driver, ({ executedBytes }) => executedBytes > 20);
    await driver.emergencyStop();
    expect(device.state).toBe('shutdown');
    expect(driver.telemetry().state).toBe('stopped');
  });

  it('proves an API key, and connects to the right printer only', async () => {
    await withKeyFile('a-key-of-moonraker', async (apiKeyFile) => {
      const device = () => new MoonrakerSimulator({ board: serial, apiKey: 'a-key-of-moonraker' });
      await start(device(), { apiKeyFile });
      await expect(start(device())).rejects.toMatchObject({ code: 'E_MACHINE' });
      await expect(start(device(), { apiKeyFile: `${apiKeyFile}.none` })).rejects.toMatchObject({ code: 'E_CONFIG' });
      await expect(start(new MoonrakerSimulator({ board: 'AB12' }))).rejects.toMatchObject({
        code: 'E_MACHINE_UNKNOWN',
      });
    });
  });
});
