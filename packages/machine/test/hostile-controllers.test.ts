import { MillraceError, utf8 } from '@millrace/base';
import { GrblSimulator } from '@millrace/testkit/controllers/grbl';
import { MarlinSimulator } from '@millrace/testkit/controllers/marlin';
import { serveWeb, type WebService } from '@millrace/testkit/controllers/serve-web';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { TextLines } from '../src/drivers/controller/text-lines.ts';
import { openTextSocket } from '../src/drivers/controller/text-socket.ts';
import { parseReply as parseGrbl } from '../src/drivers/grbl/parser.ts';
import { builtInDrivers } from '../src/drivers/index.ts';
import { MarlinFlow } from '../src/drivers/marlin/flow.ts';
import { parseReply as parseMarlin } from '../src/drivers/marlin/parser.ts';
import { parseMessage, parseOutput, parseStatus } from '../src/drivers/moonraker/parser.ts';
import { OctoprintApi } from '../src/drivers/octoprint/api.ts';
import { parseFrame, parseLog } from '../src/drivers/octoprint/parser.ts';
import { atSocket, print, reached, starts } from './controller-helpers.ts';

// A controller may be broken, or not what it says it is.
describe('whatever a controller sends', () => {
  const start = fc.constantFrom(
    '',
    'ok',
    'ok N',
    'Resend: ',
    'Error:',
    '<Idle|',
    '[VER:',
    '!! ',
    '// action:',
    'T:',
    '{',
  );
  const line = fc.tuple(start, fc.string({ maxLength: 60 })).map(([before, after]) => before + after);

  it('is read without a fault', () => {
    fc.assert(
      fc.property(line, (text) => {
        for (const parse of [parseMarlin, parseGrbl, parseOutput, parseLog])
          expect(parse(text).type).toBeTypeOf('string');
        for (const parse of [parseMessage, parseFrame]) parse(text);
      }),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        parseMessage(JSON.stringify(value));
        parseFrame(JSON.stringify({ current: value, history: value }));
        parseStatus(value);
      }),
      { numRuns: 500 },
    );
  });

  it('takes no longer for a long text than for a line', () => {
    // Patterns are slower than linear: without a limit, a text of a megabyte stops the agent.
    const long = (text: string) => text.repeat(1 << 17);
    expect(parseLog(`Recv: FIRMWARE_NAME:${long('AAAA')}`).type).toBe('firmware');
    expect(parseOutput(`!! ${long('maximum ')}`).type).toBe('fault');
  });

  it('cannot make a line of any length in memory, nor one of control characters', () => {
    const lines: string[] = [];
    const text = new TextLines((read) => void lines.push(read));
    for (let n = 0; n < 100; n += 1) text.add(new Uint8Array(10_000).fill(65));
    text.add(Uint8Array.of(7, 10, 255, 66, 13, 13, 10));
    expect(lines.map(({ length }) => length)).toEqual([1_024, 1]);
  });

  it('never lets a command count twice, nor one count that was not written', () => {
    const step = fc.oneof(
      fc.record({ type: fc.constant('add' as const) }),
      fc.record({ type: fc.constant('write' as const) }),
      fc.record({ type: fc.constant('report' as const) }),
      fc.record({ type: fc.constant('settled' as const) }),
      fc.record({
        type: fc.constant('ok' as const),
        line: fc.option(fc.nat(40), { nil: undefined }),
        report: fc.boolean(),
      }),
      fc.record({ type: fc.constant('resend' as const), line: fc.nat(40) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const flow = new MarlinFlow({ lines: 4, bytes: 120 });
        let added = 0;
        let taken = 0;
        const written = new Set<string>();
        for (const next of steps) {
          try {
            if (next.type === 'add') flow.add(utf8(`G1 X${added++}`), 'design');
            else if (next.type === 'report') flow.add(utf8('M105'), 'report');
            else if (next.type === 'settled') flow.settled();
            else if (next.type === 'write') {
              const bytes = flow.write();
              if (bytes !== undefined) written.add(/G1 X\d+|M105/.exec(Buffer.from(bytes).toString())?.[0] ?? '');
            } else if (next.type === 'resend') taken += flow.resend(next.line);
            else taken += flow.ok({ ...(next.line === undefined ? {} : { line: next.line }), report: next.report });
          } catch (error) {
            expect(error).toBeInstanceOf(MillraceError);
            return;
          }
          const commands = [...written].filter((command) => command !== 'M105').length;
          expect(taken).toBeLessThanOrEqual(commands);
          expect(flow.inFlight).toBeGreaterThanOrEqual(0);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('a machine that is not what it says it is', () => {
  const startMarlin = starts<MarlinSimulator>('marlin', { serial: 'HOT-1' }, atSocket);
  const startGrbl = starts<GrblSimulator>('grbl', { serial: 'BIG-1', statusMs: 20 }, atSocket);

  it('has no temperatures that the telemetry cannot carry', async () => {
    const device = new MarlinSimulator({ uuid: 'HOT-1' });
    const driver = await startMarlin(device, { reportMs: 60_000 });
    device.say(`T:${'9'.repeat(400)} /0 B:-${'9'.repeat(400)} /0`);
    await reached(driver, ({ temperatures }) => temperatures.hotend?.now === 5_000);
    expect(driver.telemetry().temperatures.bed).toEqual({ now: -300, target: 0 });
  });

  it('does not get more than a buffer of the design, however large it says its own is', async () => {
    const device = new GrblSimulator({ name: 'BIG-1', claimsRxBytes: 1e9, msPerSecond: 1_000_000 });
    const driver = await startGrbl(device);
    const printing = print(driver, utf8('G4 P1\n'.repeat(10_000))).catch(() => undefined);
    await reached(driver, () => device.overflowed > 0);
    // One more report of its state: everything sent before has arrived.
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(device.overflowed + device.fullest).toBeLessThanOrEqual(4_096);
    await driver.emergencyStop();
    await printing;
  });
});

describe('a server that does not answer', () => {
  const closing: { close(): unknown }[] = [];
  afterEach(async () => {
    for (const open of closing.splice(0).reverse()) await open.close();
  });
  const serve = async (service: Partial<WebService> = {}) => {
    const served = await serveWeb({
      path: '/websocket',
      answer: (_, response) => void response.end(),
      connected: () => undefined,
      ...service,
    });
    closing.push(served);
    return served;
  };
  const times = { server: 'It', connectMs: 5_000, silenceMs: 100 };

  it('is lost after a silence; a ping that is answered is no silence', async () => {
    const mute = await serve({ mute: true });
    await new Promise<void>((lost) =>
      openTextSocket(`${mute.url}/websocket`, times, { message: () => undefined, lost }),
    );
    let pings = 0;
    let isLost = false;
    const idle = await serve({ connected: (socket) => socket.on('ping', () => (pings += 1)) });
    const events = { message: () => undefined, lost: () => (isLost = true) };
    closing.push(await openTextSocket(`${idle.url}/websocket`, { ...times, silenceMs: 1_000 }, events));
    await expect.poll(() => pings, { timeout: 20_000 }).toBeGreaterThan(4);
    expect(isLost).toBe(false);
  });

  it('does not keep Moonraker’s driver waiting', async () => {
    const { url } = await serve();
    const driver = await builtInDrivers().create('moonraker', { serial: 'MUTE-1', url, connectMs: 200 });
    closing.push(driver);
    await expect(driver.connect({ serial: 'MUTE-1' })).rejects.toMatchObject({
      code: 'E_MACHINE',
      message: 'Moonraker does not answer',
    });
  });

  it.each([
    ['answers without end', 'an answer of OctoPrint is too long', Number.POSITIVE_INFINITY],
    ['stops in the middle of an answer', 'OctoPrint does not answer', 3],
  ])('does not keep OctoPrint’s driver waiting when it %s', async (_, message, parts) => {
    const { url } = await serve({
      answer: (_, response) => {
        let left = parts;
        const timer = setInterval(() => (left-- > 0 ? response.write(new Uint8Array(65_536)) : undefined), 1);
        response.on('close', () => clearInterval(timer));
      },
    });
    const api = new OctoprintApi(url, {}, parts === 3 ? 300 : 60_000);
    await expect(api.get('/api/version')).rejects.toMatchObject({ code: 'E_MACHINE', message });
  });
});
