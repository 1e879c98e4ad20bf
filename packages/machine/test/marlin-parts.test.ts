import { utf8 } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { MarlinFlow } from '../src/drivers/marlin/flow.ts';
import { parseReply } from '../src/drivers/marlin/parser.ts';
import { numbered } from '../src/drivers/marlin/writer.ts';

const text = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : Buffer.from(bytes).toString());

describe('answers of a RepRap firmware', () => {
  it.each([
    ['ok', { type: 'ok' }],
    ['ok N49 P15 B3', { type: 'ok', line: 49, moves: 15, slots: 3 }],
    [
      'ok T:201.3 /210.0 B:60.1 /60.0 @:64 B@:0',
      { type: 'ok', temperatures: { hotend: { now: 201.3, target: 210 }, bed: { now: 60.1, target: 60 } } },
    ],
    [
      'T:25.0 /0.0 B:24.5 /0.0 T0:25.0 /0.0 C:30 /0 @:0',
      {
        type: 'temperatures',
        temperatures: {
          hotend: { now: 25, target: 0 },
          bed: { now: 24.5, target: 0 },
          chamber: { now: 30, target: 0 },
        },
      },
    ],
    ['Resend: 12', { type: 'resend', line: 12 }],
    ['Resend:12', { type: 'resend', line: 12 }],
    ['rs N12', { type: 'resend', line: 12 }],
    ['rs 12', { type: 'resend', line: 12 }],
    ['echo:busy: processing', { type: 'busy', user: false }],
    ['busy: paused for user', { type: 'busy', user: true }],
    ['echo:busy: paused for input', { type: 'busy', user: true }],
    ['wait', { type: 'wait' }],
    ['start', { type: 'start' }],
    ['echo:start of nothing', { type: 'other' }],
    ['//action:pause', { type: 'action', action: 'pause' }],
    ['// action:out_of_filament T0', { type: 'action', action: 'out_of_filament' }],
    ['// a remark', { type: 'other' }],
    ['Cap:EMERGENCY_PARSER:1', { type: 'capability', name: 'EMERGENCY_PARSER', on: true }],
    [
      'FIRMWARE_NAME:Marlin 2.1.2 (Mar 1 2024) SOURCE_CODE_URL:github.com/x PROTOCOL_VERSION:1.0 UUID:12ab-34',
      { type: 'firmware', name: 'Marlin 2.1.2 (Mar 1 2024)', uuid: '12ab-34' },
    ],
    ['FIRMWARE_NAME:RepRapFirmware UUID:00000000-0000', { type: 'firmware', name: 'RepRapFirmware' }],
    ['Error:checksum mismatch, Last Line: 5', { type: 'damaged' }],
    ['Error:Line Number is not Last Line Number+1, Last Line: 5', { type: 'damaged' }],
    ['echo:Unknown command: "M9999"', { type: 'unknown-command' }],
    ['!! Printer halted', { type: 'fault', cause: 'the firmware has halted' }],
    [
      'Error:Heating failed, system stopped! Heater_ID: E0',
      { type: 'fault', cause: 'heating failed: a heater does not get warm' },
    ],
    // A firmware may quote the line: its text is not passed on.
    ['Error:bad value in G1 X12.3', { type: 'fault', cause: 'the firmware reports an error: see its display' }],
    ['X:0.00 Y:0.00 Z:0.00 E:0.00 Count X:0 Y:0 Z:0', { type: 'other' }],
  ])('%s', (line, reply) => {
    expect(parseReply(line)).toEqual(reply);
  });
});

describe('the numbered stream', () => {
  const flow = (lines = 4, bytes = 120) => new MarlinFlow({ lines, bytes });
  const add = (to: MarlinFlow, ...commands: string[]) => {
    for (const command of commands) to.add(utf8(command), 'design');
  };
  const written = (of: MarlinFlow) => {
    const out: string[] = [];
    for (let line = of.write(); line !== undefined; line = of.write()) out.push(text(line) ?? '');
    return out;
  };
  const ok = (of: MarlinFlow, facts: { line?: number; slots?: number } = {}) => of.ok({ ...facts, report: false });

  it('has the bytes of the protocol', () => {
    // Both as other hosts send them (public logs of OctoPrint).
    expect(text(numbered(0, utf8('M110 N0')))).toBe('N0 M110 N0*125\n');
    expect(text(numbered(2, utf8('M190 S70')))).toBe('N2 M190 S70*93\n');
    expect(text(numbered(5, utf8('G28')))).toBe('N5 G28*22\n');
  });

  it('keeps as much in flight as the firmware can hold, and no more', () => {
    const stream = flow(3, 60);
    add(stream, 'G1 X1', 'G1 X2', 'G1 X3', 'G1 X4');
    expect(written(stream)).toHaveLength(3);
    expect(stream.hasRoom(5)).toBe(false);
    expect(ok(stream)).toBe(1);
    expect(written(stream)).toEqual([text(numbered(4, utf8('G1 X4')))]);
    const narrow = flow(4, 40);
    add(narrow, 'G1 X100.123 Y100.123', 'G1 X100.123 Y100.124');
    expect(written(narrow)).toHaveLength(1);
  });

  it('follows the slots of an advanced ok', () => {
    const stream = flow(4);
    add(stream, 'G1 X1', 'G1 X2', 'G1 X3', 'G1 X4', 'G1 X5');
    expect(written(stream)).toHaveLength(4);
    expect(ok(stream, { line: 2, slots: 2 })).toBe(2);
    expect(written(stream)).toEqual([]);
    expect(ok(stream, { line: 3, slots: 3 })).toBe(1);
    expect(written(stream)).toHaveLength(1);
    expect(ok(stream, { line: 3, slots: 3 })).toBe(0);
  });

  it('sends again from the line that is asked for, first one line and then as before', () => {
    const stream = flow(4);
    add(stream, 'G1 X1', 'G1 X2', 'G1 X3', 'G1 X4', 'G1 X5');
    written(stream);
    expect(ok(stream)).toBe(1);
    expect(written(stream)).toHaveLength(1);
    expect(stream.resend(3)).toBe(1);
    expect(written(stream)).toEqual([]);
    // The ok after the request, and further requests for the lines that were on the way.
    expect(ok(stream)).toBe(0);
    expect(stream.resend(3)).toBe(0);
    stream.settled();
    expect(written(stream)).toEqual([text(numbered(3, utf8('G1 X3')))]);
    expect(ok(stream)).toBe(1);
    expect(written(stream).map((line) => line.slice(0, 2))).toEqual(['N4', 'N5']);
    expect(ok(stream) + ok(stream)).toBe(2);
    expect(stream.isEmpty).toBe(true);
  });

  it('still has a line that an extra ok had acknowledged too early', () => {
    const stream = flow(2);
    add(stream, 'G1 X1', 'G1 X2');
    written(stream);
    expect(ok(stream) + ok(stream)).toBe(2);
    expect(stream.resend(2)).toBe(0);
    stream.settled();
    expect(written(stream)).toEqual([text(numbered(2, utf8('G1 X2')))]);
    expect(ok(stream)).toBe(0);
    expect(stream.isEmpty).toBe(true);
  });

  it('finds lost acknowledgements by the answer to M105', () => {
    const stream = flow(4);
    add(stream, 'G1 X1', 'G1 X2');
    written(stream);
    stream.add(utf8('M105'), 'report');
    written(stream);
    expect(stream.ok({ report: true })).toBe(2);
    expect(stream.isEmpty).toBe(true);
    expect(stream.ok({ report: true })).toBe(0);
  });

  it('gives up when the firmware asks for lines that nobody has, or never stops asking', () => {
    const stream = flow();
    add(stream, 'G1 X1');
    written(stream);
    expect(() => stream.resend(3)).toThrow(expect.objectContaining({ code: 'E_MACHINE' }));
    expect(() => {
      for (let n = 0; n < 200; n += 1) stream.resend(1);
    }).toThrow(expect.objectContaining({ code: 'E_MACHINE' }));
  });

  it('wipes lines that nobody can ask for', () => {
    const stream = flow(1);
    const first: Uint8Array[] = [];
    for (let n = 0; n < 80; n += 1) {
      add(stream, `G1 X${n}`);
      first.push(stream.write() as Uint8Array);
      ok(stream);
    }
    expect(first[0]?.every((byte) => byte === 0)).toBe(true);
    expect(first[79]?.some((byte) => byte !== 0)).toBe(true);
    stream.reset();
    expect(first.every((line) => line.every((byte) => byte === 0))).toBe(true);
  });
});
