import { toHex, utf8 } from '@millrace/base';
import { OctoprintSimulator } from '@millrace/testkit/controllers/octoprint';
import { describe, expect, it } from 'vitest';
import { logFilter, parseFrame, parseLog } from '../src/drivers/octoprint/parser.ts';
import { octoprintDriver } from '../src/drivers/octoprint/registration.ts';
import { complies, moves, onNetwork, print, reached, sha256, starts, withKeyFile } from './controller-helpers.ts';

const serial = '2f0a-octo-1';

describe('messages of OctoPrint', () => {
  it('are read, whatever else they contain', () => {
    const current = { state: { text: 'Operational', flags: { operational: true, ready: true } }, logs: ['Recv: ok'] };
    expect(parseFrame(JSON.stringify({ current }))).toEqual({
      current: { state: { flags: { operational: true } }, logs: ['Recv: ok'] },
      reauthenticate: false,
    });
    expect(parseFrame('{"reauthRequired":{"reason":"stale"}}')).toEqual({ reauthenticate: true });
    expect(parseFrame('h')).toBeUndefined();
    expect(parseFrame('{"current":1}')).toBeUndefined();
  });

  it.each([
    ['Recv: echo:millrace 00ff00ff 12', { type: 'mark', run: '00ff00ff', number: 12 }],
    ['Recv: millrace 00ff00ff 12', { type: 'mark', run: '00ff00ff', number: 12 }],
    ['Recv: //action:paused', { type: 'action', action: 'paused' }],
    ['Recv: start', { type: 'start' }],
    ['Recv: Error:Printer halted. kill() called!', { type: 'fault', cause: 'the firmware has halted' }],
  ])('log %s', (line, read) => {
    expect(parseLog(line)).toEqual(read);
    expect(line).toMatch(new RegExp(logFilter));
  });

  it.each(['Send: N12 G1 X1*3', 'Recv: ok', 'Send: M118 E1 millrace 00ff00ff 12'])('are not asked for: %s', (line) => {
    expect(line).not.toMatch(new RegExp(logFilter));
  });
});

describe('the octoprint driver', () => {
  const window = { lines: 2, requests: 1 };
  complies(octoprintDriver, serial, {
    slow: { serve: () => onNetwork(new OctoprintSimulator({ uuid: serial, msPerSecond: 100 })), settings: { window } },
    fast: { serve: () => onNetwork(new OctoprintSimulator({ uuid: serial })) },
  });
});

describe('a print on a printer behind OctoPrint', () => {
  const start = starts<OctoprintSimulator>('octoprint', { serial }, onNetwork);

  it.each([false, true])('executes exactly the bytes of the design (chatter: %s)', async (chatter) => {
    const design = moves(1_000);
    const device = new OctoprintSimulator({ uuid: serial, faults: { chatter } });
    const driver = await start(device);
    await print(driver, design);
    expect(device.program).toBe(Buffer.from(design).toString());
    expect(toHex(driver.summary().sha256)).toBe(sha256(design));
    // Four requests of 32 commands and a mark each.
    expect(device.longest).toBeLessThanOrEqual(4 * 33);
    expect(device.files).toBe(0);
    expect(device.sentLogs.some((line) => line.includes('G1 X'))).toBe(false);
    await reached(driver, ({ temperatures }) => temperatures.hotend?.target === 205);
  });

  it('counts unknown commands', async () => {
    const device = new OctoprintSimulator({ uuid: serial });
    const driver = await start(device);
    await print(driver, utf8('M9999 S1\nG1 X1 F600\n'));
    expect(driver.summary().unknownCommands).toBe(1);
    await expect(print(driver, utf8('@pause\n'))).rejects.toMatchObject({ code: 'E_GCODE' });
  });

  it.each([
    [{ errorAt: 60 }, 'heating failed'],
    [{ resetAt: 60 }, 'was reset'],
    [{ lostAt: 60 }, 'lost its printer'],
    [{ dropAt: 60 }, 'has ended'],
  ])('fails with its cause, which does not quote the design: %o', async (faults, why) => {
    const device = new OctoprintSimulator({ uuid: serial, faults });
    const driver = await start(device);
    const failure = await print(driver, moves(20_000)).catch((error: Error) => error);
    expect(failure).toMatchObject({ code: 'E_MACHINE', message: expect.stringMatching(why) });
    expect((failure as Error).message).not.toMatch(/G1|X\d/);
    expect(driver.telemetry().state).toBe('failed');
  });

  it('is paused by the printer, and goes on when somebody confirms', async () => {
    const device = new OctoprintSimulator({ uuid: serial, faults: { waitAt: 60 } });
    const driver = await start(device);
    const design = moves(500);
    const printing = print(driver, design);
    await reached(driver, ({ state }) => state === 'paused');
    expect(driver.telemetry().pause).toMatchObject({ nextStep: expect.stringContaining('display') });
    await driver.resume();
    await printing;
    expect(device.sha256).toBe(sha256(design));
  });

  it('is cancelled with heaters off, and can be stopped in an emergency', async () => {
    const device = new OctoprintSimulator({ uuid: serial, msPerSecond: 5 });
    const driver = await start(device);
    const slow = utf8(`M104 S210\n${'G4 S1\n'.repeat(200)}`);
    await driver.begin();
    await driver.write(slow);
    await reached(driver, ({ executedBytes }) => executedBytes > 0);
    await driver.cancel();
    expect(device.target).toEqual({ tool0: 0, bed: 0 });
    await driver.begin();
    await driver.write(slow);
    await reached(driver, ({ executedBytes }) => executedBytes > 0);
    await driver.emergencyStop();
    expect(device.halted).toBe(true);
    expect(driver.telemetry().state).toBe('stopped');
  });

  it('proves an API key, and connects to the right printer only', async () => {
    await withKeyFile('a-key-of-octoprint', async (apiKeyFile) => {
      const device = () => new OctoprintSimulator({ uuid: serial, apiKey: 'a-key-of-octoprint' });
      await start(device(), { apiKeyFile });
      await expect(start(device())).rejects.toMatchObject({
        code: 'E_MACHINE',
        message: expect.stringContaining('apiKeyFile'),
      });
      await expect(start(new OctoprintSimulator({ uuid: 'AB12' }))).rejects.toMatchObject({
        code: 'E_MACHINE_UNKNOWN',
      });
    });
  });
});
