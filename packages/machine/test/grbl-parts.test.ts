import { utf8 } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { GrblFlow } from '../src/drivers/grbl/flow.ts';
import { parseReply } from '../src/drivers/grbl/parser.ts';
import { lineOf, refusedByGrbl, writesMemory } from '../src/drivers/grbl/writer.ts';

describe('answers of Grbl', () => {
  it.each([
    ['ok', { type: 'ok' }],
    ['error:20', { type: 'error', code: 20 }],
    ['ALARM:1', { type: 'alarm', code: 1 }],
    ["Grbl 1.1h ['$' for help]", { type: 'banner', version: '1.1h' }],
    ["GrblHAL 1.1f ['$' or '$HELP' for help]", { type: 'banner', version: '1.1f' }],
    [
      '<Idle|MPos:0.000,-10.000,5.000|FS:0.0,0>',
      { type: 'status', status: { state: 'Idle', machine: [0, -10, 5], feed: 0, spindle: 0 } },
    ],
    [
      '<Hold:1|WPos:1.5,2,3|Bf:15,128|F:500|WCO:0.000,1.551,5.664|Ov:100,100,100|Pn:XD>',
      { type: 'status', status: { state: 'Hold', sub: 1, work: [1.5, 2, 3], offset: [0, 1.551, 5.664], feed: 500 } },
    ],
    [
      '<Door:0|MPos:1,2,3,4|FS:0,0>',
      { type: 'status', status: { state: 'Door', sub: 0, machine: [1, 2, 3], feed: 0, spindle: 0 } },
    ],
    ['<MPos:1', { type: 'other' }],
    ['<|>', { type: 'other' }],
    ['[VER:1.1f.20170131:Mill 7]', { type: 'build', version: '1.1f.20170131', name: 'Mill 7' }],
    ['[VER:1.1h.20190830:]', { type: 'build', version: '1.1h.20190830', name: '' }],
    ['[OPT:VL,15,128]', { type: 'options', rxBytes: 128 }],
    ['$22=1', { type: 'setting', number: 22, value: 1 }],
    ['$N0=G54', { type: 'other' }],
    ['[MSG:Check Door]', { type: 'message', text: 'Check Door' }],
    ['>G54G20:ok', { type: 'other' }],
    ['[GC:G0 G54 G17]', { type: 'other' }],
  ])('%s', (line, reply) => {
    expect(parseReply(line)).toEqual(reply);
  });
});

describe('lines for Grbl', () => {
  it('have no blanks and end with a line feed', () => {
    expect(Buffer.from(lineOf(utf8('G1 X1.5\tY-2 '))).toString()).toBe('G1X1.5Y-2\n');
  });

  it.each(['$X', 'G1 X1 !', 'M117 what?', 'G81 X1 Z-1 R1', 'G1 X1 \u0085', `G1 ${'X1'.repeat(40)}`])(
    'are not sent: %s',
    (line) => {
      expect(refusedByGrbl(utf8(line))).toBeTypeOf('string');
    },
  );

  it.each(['G1 X1 Y2 F100', 'G53 G0 Z0', 'G38.2 Z-10 F50', 'G80', 'M3 S8000', 'X10'])('are sent: %s', (line) => {
    expect(refusedByGrbl(utf8(line))).toBeUndefined();
  });
});

describe('character counting', () => {
  const facts = { counts: true, alone: false };

  it('fills the receive buffer and never overflows it', () => {
    const flow = new GrblFlow();
    // The example of Grbl's documentation: lines of 25, 40, 31, 58 and 20 characters.
    for (const length of [25, 40, 31]) {
      expect(flow.hasRoom(length, false)).toBe(true);
      flow.sent(length, facts);
    }
    expect(flow.bytes).toBe(96);
    expect(flow.hasRoom(58, false)).toBe(false);
    expect(flow.answered()).toBe(true);
    expect(flow.hasRoom(58, false)).toBe(false);
    expect(flow.answered()).toBe(true);
    expect(flow.hasRoom(58, false)).toBe(true);
    flow.sent(58, facts);
    expect(flow.hasRoom(38, false)).toBe(true);
    expect(flow.hasRoom(39, false)).toBe(false);
  });

  it('sends a line that writes to memory alone', () => {
    expect(writesMemory(utf8('G10 L20 P1 X0'))).toBe(true);
    expect(writesMemory(utf8('G1 X10'))).toBe(false);
    const flow = new GrblFlow();
    flow.sent(10, facts);
    expect(flow.hasRoom(10, true)).toBe(false);
    flow.answered();
    expect(flow.hasRoom(10, true)).toBe(true);
    flow.sent(10, { counts: true, alone: true });
    expect(flow.hasRoom(10, false)).toBe(false);
    expect([flow.answered(), flow.answered(), flow.unanswered]).toEqual([true, undefined, 0]);
  });
});
