import { MillraceError, utf8 } from '@millrace/base';
import { type Dialect, type MachineFrame, PolicyLimits, SafetyGuard, safetyPolicySchema } from '@millrace/gcode';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Job } from '../src/drivers/controller/job.ts';
import { refusedByGrbl } from '../src/drivers/grbl/writer.ts';
import { refusedByMarlin } from '../src/drivers/marlin/refused.ts';

const printer = {
  version: 1,
  volume: { x: [0, 200], y: [0, 200], z: [0, 180] },
  home: { x: 0, y: 0, z: 0 },
  feed: { x: 12_000, y: 12_000, z: 1_200, e: 3_000 },
  temperatures: { hotend: 250, bed: 100 },
};
const mill = {
  version: 1,
  volume: { x: [-300, 0], y: [-200, 0], z: [-80, 0] },
  feed: { x: 2_000, y: 2_000, z: 500 },
  spindle: 12_000,
};
const frame: MachineFrame = {
  position: [-1, -1, -1],
  origin: [-250, -150, -40],
  systems: [[-250, -150, -40], [-100, -50, -20], ...Array.from({ length: 4 }, () => [0, 0, 0] as const)],
  homes: true,
};

/** What the controller would be sent of a design, and the violation that ends it. */
function run(text: string, policy: object, dialect: Dialect, at?: MachineFrame) {
  const guard = new SafetyGuard(new PolicyLimits(safetyPolicySchema.parse(policy), dialect), dialect);
  const job = new Job({
    maxCommand: 256,
    maxMoves: 0,
    memory: new Uint8Array(2_048),
    refuse: dialect === 'mill' ? refusedByGrbl : refusedByMarlin,
    guard,
  });
  const sent: string[] = [...guard.modes];
  try {
    job.begin(at);
    const bytes = utf8(text);
    for (let from = 0; from < bytes.length; ) {
      const { at, command } = job.read(bytes, from);
      if (command !== undefined) sent.push(new TextDecoder('latin1').decode(command));
      from = at;
    }
    const last = job.finish();
    if (last !== undefined) sent.push(new TextDecoder('latin1').decode(last));
    return { sent };
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    return { sent, code: error.code, rule: error.data.rule, line: error.data.line };
  }
}
const print = (text: string, change: object = {}) => run(text, { ...printer, ...change }, 'printer');
const cut = (text: string, change: object = {}) => run(text, { ...mill, ...change }, 'mill', frame);

/** A line with its checksum. */
function checked(line: string): string {
  return `${line}*${[...line].reduce((sum, letter) => sum ^ letter.charCodeAt(0), 0)}`;
}

const slicer = `;TYPE:Custom
M201 X9000 Y9000 Z500 E10000
M203 X500 Y500 Z12 E120
M204 P1500 R1500 T1500
M104 S210
M140 S60
G28 ; home all axes
M117 Printing (and nothing else)
G1 Z5 F1200
M190 S60
M109 S210
G21 ; mm
G90
M83
G92 E0
G1 X20 Y20 F6000
${checked('N5 G1 X100.5 Y30.25 E1.5 F1800')}
G1 E-0.8 F2100
G91
G1 Z0.6 F900
G90
T0
M106 S127.5
M107
M104 S0
M84
`;

describe('a policy for a printer', () => {
  it('lets pass what a slicer writes', () => {
    const { sent, code } = print(slicer);
    expect(code).toBeUndefined();
    expect(sent).toContain('G1 X100.5 Y30.25 E1.5 F1800');
    expect(sent.slice(0, 4)).toEqual(['G21', 'G90', 'M82', 'M220 S100']);
    expect(sent.slice(4, 7)).toEqual(['M221 S100', 'G92 E0', 'G1 F1500']);
  });

  const home = 'G28\nG1 X100 Y100 Z10 F1000\n';
  it.each([
    ['an absolute move', `${home}G1 X200.1`, 'volume'],
    ['one below the bed', `${home}G1 Z-0.1`, 'volume'],
    ['a relative move', `${home}G91\nG1 X60\nG1 X60`, 'volume'],
    ['inches, where the firmware has them', `${home}G20\nG1 X10`, 'volume'],
    ['an offset', `${home}G92 X0\nG1 X101`, 'volume'],
    ['two offsets', `${home}G92 X50\nG92 Y-50\nG1 Y60`, 'volume'],
    ['an arc that bulges beyond its ends', `G28\nG1 X195 Y90 F1000\nG3 X195 Y110 I0 J10`, 'volume'],
    ['a circle that ends where it began', `G28\nG1 X195 Y100 F1000\nG2 I-10 J0\nG2 I10 J0`, 'volume'],
    ['an arc by radius', `G28\nG1 X190 Y90 F1000\nG3 X190 Y110 R-12`, 'volume'],
    ['a numbered line with a checksum', `${home}${checked('N3 G1 X500')}`, 'volume'],
    ['a line without an end', `${home}G1 X500`, 'volume'],
    ['a move behind a comment in brackets', `${home}G1 (X1) X500`, 'volume'],
  ])('stops %s', (_, text, rule) => {
    const { sent, ...result } = print(text, { commands: { allow: ['G2', 'G3', 'G20'] } });
    expect(result).toEqual({ code: 'E_SAFETY', rule, line: text.split('\n').length });
    expect(sent.join('\n')).not.toMatch(/X500|X200.1|Z-0.1|X101|Y60/);
  });

  it.each([
    ['a move before homing', 'G1 X10', 'position'],
    ['a relative move before homing', 'G91\nG1 X10', 'position'],
    ['a move of an axis that was not homed', 'G28 X Y\nG1 Z10', 'position'],
    ['a move after the motors were off', `${home}M84\nG1 X10`, 'position'],
    ['an offset at an unknown place', `G92 X-500\nG1 X10`, 'position'],
    ['an arc that the firmware may not have', `${home}G2 X110 I5`, 'command'],
    ['inches that the firmware may not have', `${home}G20`, 'command'],
    ['a small letter, which some firmware skips', `${home}G1 x10`, 'form'],
    ['a small code', `${home}g1 X10`, 'form'],
    ['a word twice', `${home}G1 X10 X20`, 'form'],
    ['a blank in a word', `${home}G1 X 10`, 'form'],
    ['a number that a controller cuts off', `${home}G1 X0000000010`, 'form'],
    ['a leading zero, which Klipper does not read', `${home}G01 X10`, 'form'],
    [
      'a checksum without a number',
      `${home}G1 X10*${'G1 X10'.split('').reduce((a, b) => a ^ b.charCodeAt(0), 0)}`,
      'form',
    ],
    ['a line number with a sign', `${home}N-5 G1 X10`, 'form'],
    ['an offset without words', `${home}G92`, 'form'],
    ['a homing that may be skipped', 'G28 O', 'form'],
    ['an axis that the policy does not know', `${home}G1 A10`, 'form'],
    ['full circles that are counted', `${home}G2 X110 I5 P3`, 'form', { commands: { allow: ['G2'] } }],
    ['a stored position', `${home}G61`, 'command'],
    ['the memory of settings', 'M500', 'command'],
    ['steps a millimetre', 'M92 X4000', 'command'],
    ['a home offset', 'M206 X-50', 'command'],
    ['end stops off', 'M211 S0', 'command'],
    ['a file on the card', 'M23 other.gcode', 'command'],
    ['the firmware', 'M997', 'command'],
    ['the network', 'M587 S"net" P"word"', 'command'],
    ['a pin', 'M42 P4 S255', 'command'],
    ['a macro', 'SET_KINEMATIC_POSITION X=0', 'command'],
    ['a shell', 'RUN_SHELL_COMMAND CMD=x', 'command'],
    ['a command that was forbidden', 'M117 hello', 'command', { commands: { forbid: ['M117'] } }],
    ['a hot nozzle', 'M104 S251', 'temperature'],
    ['a hot nozzle, cooling', 'M109 R300', 'temperature'],
    ['a hot nozzle of another tool', 'M104 T1 S300', 'temperature'],
    ['a hot bed', 'M190 S101', 'temperature'],
    ['a heater without a maximum', 'M141 S40', 'temperature'],
    ['a feed', `${home}G1 X10 F12001`, 'feed'],
    ['a feed by factor', `${home}M220 S200\nG1 X10 F7000`, 'feed'],
    ['a feed of one axis', `${home}G1 Z20 F1201`, 'feed'],
    ['a tool that is not there', 'T1', 'tool'],
    ['an axis behind a tool', `${home}T0 X999`, 'form'],
    ['an axis on a dwell', `${home}G4 P0 X999`, 'form'],
    ['an axis on a mode', `${home}G90 X999`, 'form'],
    ['an axis on a fan', `${home}M106 S1 X999`, 'form'],
  ])('stops %s', (_, text, rule, change: object = {}) => {
    expect(print(text, change)).toMatchObject({ code: 'E_SAFETY', rule, line: text.split('\n').length });
  });

  it('has a volume for each tool, and does not rely on the place after a change', () => {
    const tools = [{}, { volume: { x: [20, 220], y: [0, 200], z: [0, 180] } }];
    expect(print(`${home}T1\nG1 X210 Y10 Z10`, { tools }).code).toBeUndefined();
    expect(print(`${home}T1\nG1 X10`, { tools }).rule).toBe('volume');
    expect(print(`${home}T1\nG91\nG1 X1`, { tools }).rule).toBe('position');
  });

  it('does not rely on the place after a command that the model does not know', () => {
    const commands = { allow: ['G29', 'START_PRINT'] };
    for (const unknown of ['G29', 'START_PRINT BED=60']) {
      expect(print(`${home}${unknown}\nG1 X10`, { commands }).code).toBeUndefined();
      expect(print(`${home}${unknown}\nG91\nG1 X10`, { commands }).rule).toBe('position');
      expect(print(`${home}${unknown}\nG92 X50\nG1 X10`, { commands }).rule).toBe('position');
    }
  });

  it('counts what relative moves lose in firmware with short numbers', () => {
    // The sum in 32 bits stays where it is; the model goes on.
    const creep = 'G91\n'.concat('G1 X0.000005\n'.repeat(200_000));
    expect(Math.fround(Math.fround(199) + 0.000005)).toBe(199);
    expect(print(`G28\nG1 X199 F1000\n${creep}G1 X-0.9`).rule).toBe('volume');
    expect(print(`G28\nG1 X100 F1000\n${'G91\nG1 X0.1\nG1 X-0.1\nG90\n'.repeat(1_000)}G1 X200`).code).toBeUndefined();
  });
});

describe('a policy for a mill', () => {
  const program = `%
(part 1)
G90 G94 G17 G91.1
G21
G53 G0 Z0
S10000 M3
G54
G0 X10 Y10
G1 Z-1 F300
X20
G2 X30 Y10 I5 J0 F400
G55 G0 X0 Y0
G20 G1 X1 F20
M5
M30
%
`;
  it('lets pass what CAM software writes', () => {
    expect(cut(program).code).toBeUndefined();
  });

  it.each([
    ['the work offset', 'G0 X251', 'volume'],
    ['machine coordinates', 'G53 G0 X1', 'volume'],
    ['machine coordinates, in a relative mode', 'G91\nG53 G0 X-301', 'volume'],
    ['another work offset', 'G55\nG0 X101', 'volume'],
    ['another work offset and back', 'G55\nG54\nG0 X251', 'volume'],
    ['a work offset and G92', 'G0 X0\nG92 X100\nG0 X351', 'volume'],
    ['inches in the same line', 'G20 G0 X10', 'volume'],
    ['words without a command', 'G0 X0\nX251', 'volume'],
    ['a relative mode in the same line', 'G0 X249\nG91 X3', 'volume'],
    ['blanks in a line', 'G0 X 2 5 1', undefined],
    ['a feed in inches', 'G20\nG1 X1 F100', 'feed'],
    ['a spindle', 'M3 S12001', 'spindle'],
    ['a spindle on a move', 'M3\nG1 X1 F100 S20000', 'spindle'],
    ['an offset that is written to memory', 'G10 L2 P1 X100', 'command'],
    ['a stored position', 'G28 X0', 'command'],
    ['storing one', 'G28.1', 'command'],
    ['a probe', 'G38.2 Z-50 F100', 'command'],
    ['the length of the tool', 'G43.1 Z-50', 'command'],
    ['absolute centres of arcs', 'G90.1', 'command'],
    ['a move behind what the model does not read', 'G91.1 G0 X1', 'form'],
    ['a move behind the end of the program', 'M30 G0 X1', 'form'],
    ['a program behind the end of the program', 'G91\nM30\nG0 X1', 'command'],
    ['a number that Grbl cuts off', 'G0 X0000000001', 'form'],
    // Grbl moves to the axes of a line in the motion that the run before has left.
    ['an axis behind a tool', 'G0 X0\nT1 X999', 'form'],
    ['an axis before a tool', 'G0 X0\nX999 T1', 'form'],
    ['a feed behind a tool', 'T1 F9000', 'form'],
    ['an axis on a dwell', 'G0 X0\nG4 P0 X999', 'form'],
    ['a feed on a dwell', 'G4 P0 F9000', 'form'],
    ['an axis on a spindle before any motion', 'M3 X999', 'form'],
    ['an axis on a mode before any motion', 'G90 X999', 'form'],
    ['an axis before a mode before any motion', 'X999 G90', 'form'],
    ['an axis on a plane before any motion', 'G17 X999', 'form'],
    ['an axis on a work offset before any motion', 'G55 X999', 'form'],
    ['an axis in machine coordinates before any motion', 'G53 X-10', 'form'],
    ['an axis after the motion was ended', 'G0 X0\nG80\nG90 X10', 'form'],
    // Grbl reads a line as a whole: modes first, and one motion with all words of axes.
    ['a mode behind the words of a move', 'G0 X200\nG0 X100 M3 G91', undefined],
    ['a mode behind a word of a move of a spindle', 'G0 X200\nM3 X100 G91', undefined],
    ['a unit behind a feed', 'M3 F400 G20', undefined],
    ['an offset of which a part looks like a move', 'G0 X0\nG92 X0 M3 Y10', 'form'],
    ['an offset behind a word of an axis', 'G0 X0\nM3 Y10 G92 X0', undefined],
    ['a move of which a part is behind the spindle', 'G0 X0\nG0 X1 M3 Y10', 'form'],
    ['a centre of an arc in two parts', 'G0 X0 Y0\nG1 F100\nG2 X0 I3 M3 Y0 J2', 'form'],
  ])('stops %s', (_, text, rule) => {
    const { sent, ...result } = cut(text);
    if (rule === undefined) expect(result.code).toBe('E_GCODE');
    else expect(result).toMatchObject({ code: 'E_SAFETY', rule });
    expect(sent).not.toContain(text.split('\n').at(-1));
  });

  it('moves at a known speed before the first F, whatever the run before has left', () => {
    const limits = (z: number) => ({ feed: { x: 2_000, y: 2_000, z } });
    expect(cut('G1 Z-1', limits(1_500))).toEqual({ sent: ['G21G90G17G94G49G54F1500', 'G1 Z-1'] });
    expect(cut('G1 Z-1', limits(1_499))).toMatchObject({ rule: 'feed', sent: ['G21G90G17G94G49G54F1500'] });
  });

  it('does not begin without a fixed zero', () => {
    const lost = { ...frame, homes: false };
    expect(run('G0 X0', mill, 'mill', lost)).toMatchObject({ rule: 'position', sent: ['G21G90G17G94G49G54F1500'] });
    expect(run('G0 X0', { ...mill, trustPosition: true }, 'mill', lost).code).toBeUndefined();
  });
});

/** Firmware as Marlin is, written from its documentation: where its nozzle has been. */
class Firmware {
  readonly been: (readonly [axis: number, mm: number])[] = [];
  /** As another run has left it. */
  #relative = true;
  #at = [150, 20, 70];
  #offset = [-40, 30, 5];
  #homed = [false, false, false];
  #unit: number;
  readonly #hasInches: boolean;

  constructor(hasInches: boolean) {
    this.#hasInches = hasInches;
    this.#unit = hasInches ? 25.4 : 1;
  }

  take(line: string): void {
    const code = /^([GMT])(\d+)/.exec(line);
    if (code === null) return;
    const words = new Map([...line.slice(code[0].length).matchAll(/([A-Z])([-+]?[\d.]*)/g)].map(([, l, v]) => [l, v]));
    const value = (letter: string) => Number.parseFloat(words.get(letter) ?? '') * this.#unit;
    switch (code[0]) {
      case 'G0':
      case 'G1':
        ['X', 'Y', 'Z'].forEach((letter, axis) => {
          const to = value(letter);
          if (Number.isNaN(to)) return;
          this.#at[axis] = to + (this.#relative ? (this.#at[axis] as number) : (this.#offset[axis] as number));
          this.been.push([axis, this.#homed[axis] ? (this.#at[axis] as number) : Number.NaN]);
        });
        break;
      case 'G20':
      case 'G21':
        if (this.#hasInches) this.#unit = code[0] === 'G20' ? 25.4 : 1;
        break;
      case 'G28': {
        const named = ['X', 'Y', 'Z'].filter((letter) => words.has(letter));
        ['X', 'Y', 'Z'].forEach((letter, axis) => {
          if (named.length > 0 && !named.includes(letter)) return;
          this.#at[axis] = this.#offset[axis] = 0;
          this.#homed[axis] = true;
        });
        break;
      }
      case 'G90':
      case 'G91':
        this.#relative = code[0] === 'G91';
        break;
      case 'G92':
        ['X', 'Y', 'Z'].forEach((letter, axis) => {
          const to = value(letter);
          if (!Number.isNaN(to)) this.#offset[axis] = (this.#at[axis] as number) - to;
        });
        break;
      case 'M18':
      case 'M84':
        this.#homed = [false, false, false];
    }
  }
}

it('keeps firmware within the volume, whatever a hostile design says', () => {
  const number = fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 0, max: 180 }).map(String) },
    { weight: 8, arbitrary: fc.double({ min: -9, max: 9, noNaN: true }).map((value) => value.toFixed(3)) },
    { weight: 2, arbitrary: fc.integer({ min: -250, max: 250 }).map(String) },
    { weight: 1, arbitrary: fc.constantFrom('0', '.5', '-.5', '1e3', '--5', '00000000200', '') },
  );
  const letter = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom('X', 'Y', 'Z') },
    { weight: 1, arbitrary: fc.constantFrom('E', 'F', 'x', 'N') },
  );
  const word = fc.tuple(letter, number).map((parts) => parts.join(''));
  const words = fc.array(word, { minLength: 1, maxLength: 2 }).map((list) => list.join(' '));
  const line = fc.oneof(
    {
      weight: 6,
      arbitrary: fc
        .tuple(fc.constantFrom('G0 ', 'G1 ', 'G1 ', 'G1 ', 'G1', 'g1 '), words)
        .map((parts) => parts.join('')),
    },
    { weight: 2, arbitrary: words.map((text) => `G92 ${text}`) },
    { weight: 3, arbitrary: fc.constantFrom('G90', 'G91', 'G20', 'G21', 'G28', 'G28 X', 'G28 Z', 'G28 O', 'M84') },
    { weight: 1, arbitrary: words.map((text) => `(${text}) G1 ${text} ; G1 ${text}`) },
    { weight: 1, arbitrary: words.map((text) => `M117 ${text}\rG1 ${text}`) },
    { weight: 1, arbitrary: words.map((text) => `G90 G1 ${text}`) },
  );
  // The run before may have left firmware in inches: its policy may have allowed them.
  const inches = fc.constantFrom(
    { hasInches: true, allow: ['G20'] },
    { hasInches: true, allow: [] },
    { hasInches: false, allow: [] },
  );
  let moved = 0;
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 12 }), inches, (lines, { hasInches, allow }) => {
      const commands = { allow };
      const feed = { x: 1e6, y: 1e6, z: 1e6 };
      const { sent } = run(`G28\n${lines.join('\n')}\n`, { ...printer, commands, feed }, 'printer');
      const firmware = new Firmware(hasInches);
      for (const command of sent) for (const part of command.split(/[\r\n]/)) firmware.take(part);
      moved += firmware.been.length;
      for (const [axis, mm] of firmware.been) {
        expect(mm).toBeGreaterThanOrEqual(-1e-3);
        expect(mm).toBeLessThanOrEqual(axis === 2 ? 180.001 : 200.001);
      }
    }),
    {
      numRuns: 1_000,
      examples: [
        [['G91', 'G92 X', 'G90', 'G1 X201'], { hasInches: true, allow: ['G20'] }],
        [['G1 X9 F600'], { hasInches: true, allow: [] }],
      ],
    },
  );
  expect(moved).toBeGreaterThan(500);
});
