import { MillraceError, utf8 } from '@millrace/base';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  CommandLines,
  commonPolicy,
  DesignEstimator,
  Execution,
  type JobEnvelope,
  jobEnvelopeSchema,
  type MachineFrame,
  PolicyLimits,
  type Rehearsed,
  SafetyGuard,
  safetyPolicySchema,
  syntheticDesign,
  violatedRules,
} from '../src/index.ts';

const policyOf = (change: object = {}) =>
  safetyPolicySchema.parse({
    version: 1,
    volume: { x: [0, 200], y: [0, 200], z: [0, 180] },
    home: { x: 0, y: 0, z: 0 },
    feed: { x: 12_000, y: 12_000, z: 1_200, e: 3_000 },
    temperatures: { hotend: 250, bed: 100 },
    ...change,
  });

/** The design's envelope; given in chunks that split lines. */
function envelopeOf(text: string): JobEnvelope {
  const estimator = new DesignEstimator();
  const bytes = utf8(text);
  for (let at = 0; at < bytes.length; at += 7) estimator.push(bytes.subarray(at, at + 7));
  return jobEnvelopeSchema.parse(estimator.finish().envelope);
}

const printerWith = (change: object = {}): Rehearsed => ({ dialect: 'printer', policy: policyOf(change) });

/** The rule for which a machine with this policy stops, by its guard; undefined if it makes all of the design. */
function stopsFor(text: string, { policy, dialect, frame }: Rehearsed): unknown {
  const guard = new SafetyGuard(new PolicyLimits(policy, dialect), dialect);
  const execution = new Execution({
    command: (at) => guard.command(at),
    aimed: (at) => guard.aimed(at),
    planned: (direction, feed) => guard.planned(direction, feed),
  });
  const lines = new CommandLines(new Uint8Array(1_024));
  try {
    guard.begin(execution, frame);
    for (const line of text.split(/(?<=\n)/)) {
      execution.push(utf8(line));
      lines.add(utf8(line));
      const command = lines.end();
      if (command !== undefined && command.length > 0) guard.line(command);
      lines.clear();
    }
    execution.finish();
    return undefined;
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_SAFETY') return error.data.rule;
    throw error;
  }
}

const design = `G90\nM82\nG28\nM104 S210\nG1 Z5 F1200\nG1 X20 Y150 E3 F6000\nT1\nG1 X120 Y20 Z6 E9\nM104 S0\nM84\n`;

describe('the envelope of a design', () => {
  it('is what a policy has to allow', () => {
    const envelope = envelopeOf(design);
    expect(envelope.printer).toMatchObject({
      commands: ['G1', 'G28', 'G90', 'M104', 'M82', 'M84'],
      tools: [
        { tool: 0, places: expect.arrayContaining([{ zero: 0, x: [20, 20], y: [150, 150], z: [5, 5] }]) },
        { tool: 1, places: [{ zero: 0, x: [120, 120], y: [20, 20], z: [6, 6] }] },
      ],
      home: [],
      temperatures: { hotend: 210, bed: 0, chamber: 0 },
    });
    expect(envelope.mill).toEqual({ fault: 'form' });
    expect(violatedRules(envelope, printerWith())).toEqual(['tool']);
    expect(violatedRules(envelope, printerWith({ tools: [{}, {}] }))).toEqual([]);
  });

  it.each<[string, object, string[]]>([
    ['a smaller volume', { volume: { x: [0, 100], y: [0, 200], z: [0, 180] } }, ['volume']],
    ['a smaller volume of one tool', { tools: [{}, { volume: { x: [0, 50], y: [0, 200], z: [0, 180] } }] }, ['volume']],
    ['slower axes', { feed: { x: 12_000, y: 12_000, z: 60, e: 3_000 } }, ['feed']],
    ['a cooler hot end', { temperatures: { hotend: 200, bed: 100 } }, ['temperature']],
    ['a forbidden command', { commands: { forbid: ['M84'] } }, ['command']],
    ['several limits', { temperatures: { hotend: 200 }, commands: { forbid: ['G28'] } }, ['command', 'temperature']],
  ])('violates %s', (_name, change, rules) => {
    expect(violatedRules(envelopeOf(design), printerWith({ tools: [{}, {}], ...change }))).toEqual(rules);
  });

  it.each<[string, string]>([
    ['form', 'G28\nG1 X1 X2\n'],
    ['position', 'G1 X10 Y10\n'],
    ['form', 'g28\n'],
  ])('says that no policy allows a design with a fault of %s', (rule, text) => {
    expect(envelopeOf(text).printer).toEqual({ fault: rule });
    expect(violatedRules(envelopeOf(text), printerWith())).toEqual([rule]);
  });

  it('counts places from where the axes are after homing', () => {
    const relative = envelopeOf('G28\nG91\nG1 X30 F600\nG92 X0\nG90\nG1 X10\n');
    expect(relative.printer).toMatchObject({
      home: ['x'],
      tools: [{ places: [{ zero: 1, x: [expect.closeTo(30, 3), expect.closeTo(40, 3)] }] }],
    });
    expect(violatedRules(relative, printerWith())).toEqual([]);
    expect(violatedRules(relative, printerWith({ home: { x: 165, y: 0, z: 0 } }))).toEqual(['volume']);
    expect(violatedRules(relative, printerWith({ home: {} }))).toEqual(['position']);
  });

  it('finds the speed of the first move from where the axes are after homing', () => {
    const text = 'G28\nG1 X100 Y10 F3000\n';
    const slowY = (x: number) => printerWith({ home: { x, y: 0, z: 0 }, feed: { x: 9_000, y: 1_000, z: 9_000 } });
    for (const [x, rules] of [
      [0, []],
      [100, ['feed']],
    ] as const) {
      expect(violatedRules(envelopeOf(text), slowY(x))).toEqual(rules);
      expect(stopsFor(text, slowY(x))).toBe(rules[0]);
    }
  });

  it('is the same for a design that a slicer might write, however it is cut', () => {
    const text = Buffer.concat([...syntheticDesign({ bytes: 60_000 })]).toString();
    expect(violatedRules(envelopeOf(text), printerWith({ feed: { x: 2e4, y: 2e4, z: 2e4, e: 2e4 } }))).toEqual([]);
    const whole = new DesignEstimator();
    whole.push(utf8(text));
    expect(whole.finish().envelope).toEqual(envelopeOf(text));
  });

  it('is allowed by the common policy of two exactly if both allow it', () => {
    const mostly = <T>(usual: T, ...others: T[]) =>
      fc.oneof({ weight: 7, arbitrary: fc.constant(usual) }, fc.constantFrom(...others));
    const fast = { x: 9e4, y: 9e4, z: 9e4 };
    const some = fc
      .record({
        volume: fc.record({
          x: mostly([0, 200], [-50, 130], [10, 110]),
          y: mostly([0, 200], [-50, 130]),
          z: mostly([0, 180], [-5, 5.5]),
        }),
        tools: mostly<object[]>([{}, {}], [{}], [{}, { volume: { x: [0, 125], y: [0, 160], z: [0, 9] } }]),
        feed: mostly<object>(fast, { ...fast, z: 900 }, { ...fast, e: 1 }),
        temperatures: mostly({ hotend: 250 }, { hotend: 205 }),
        commands: mostly<object>({ allow: ['M150'] }, {}, { allow: ['M150', 'M151'], forbid: ['M84'] }),
      })
      .map(policyOf);
    const texts = ['', 'M150 P1\n', 'M104 S208\n', 'G1 Z8 F1000\n'].map((more) => envelopeOf(`${design}G28\n${more}`));
    const verdicts = new Set<boolean>();
    fc.assert(
      fc.property(some, some, fc.constantFrom(...texts), (own, other, envelope) => {
        const allows = (policy: typeof own) => violatedRules(envelope, { dialect: 'printer', policy }).length === 0;
        const both = [own, other].every(allows);
        verdicts.add(both);
        expect(allows(commonPolicy(own, other))).toBe(both);
      }),
      { numRuns: 1_000 },
    );
    expect(verdicts.size).toBe(2);
  });

  it('decides as the guard of the machine does', () => {
    const coordinate = fc.integer({ min: -5, max: 210 });
    const axis = fc.constantFrom('X', 'Y', 'Z');
    const line = fc.oneof(
      { weight: 6, arbitrary: fc.tuple(axis, coordinate).map(([a, at]) => `G1 ${a}${at} F900`) },
      { weight: 2, arbitrary: fc.tuple(coordinate, coordinate).map(([x, y]) => `G0 X${x} Y${y} E1 F3000`) },
      fc.constantFrom('G90', 'G91', 'G28', 'G28 X', 'G92 X0 Y3', 'G92 Z1', 'T0', 'T1', 'M84', 'FLUSH', 'M150 P1'),
      fc.integer({ min: 150, max: 300 }).map((celsius) => `M104 S${celsius}`),
      fc.integer({ min: 30, max: 130 }).map((celsius) => `M140 S${celsius}`),
    );
    const text = fc.array(line, { maxLength: 25 }).map((lines) => `G28\nG1 X10 Y10 Z10 F600\n${lines.join('\n')}\n`);
    const change = fc.record({
      volume: fc.record({
        x: fc.constantFrom([0, 200], [-200, 300]),
        y: fc.constant([-200, 400]),
        z: fc.constantFrom([0, 200], [-200, 5_000]),
      }),
      home: fc.constantFrom({ x: 0, y: 0, z: 0 }, { x: 100, y: 0, z: 4 }),
      tools: fc.constantFrom([{}], [{}, {}], [{}, { volume: { x: [50, 150], y: [-200, 400], z: [-200, 500] } }]),
      feed: fc.constantFrom({ x: 1e5, y: 1e5, z: 1e5, e: 1e5 }, { x: 1e5, y: 1e5, z: 800 }),
      temperatures: fc.constantFrom({ hotend: 250, bed: 100 }, { hotend: 400, bed: 200 }),
      commands: fc.constantFrom({ allow: [] }, { allow: ['FLUSH', 'M150'] }, { allow: ['FLUSH'], forbid: ['M84'] }),
    });
    const seen = new Set<unknown>();
    fc.assert(
      fc.property(text, change, (program, changed) => {
        const machine = printerWith(changed);
        const rule = stopsFor(program, machine);
        seen.add(rule);
        expect(violatedRules(envelopeOf(program), machine).length === 0).toBe(rule === undefined);
      }),
      { numRuns: 300, examples: [['G28\nG1 X10 Y10 Z10 F600\nG1 Z12\n', { volume: policyOf().volume } as never]] },
    );
    expect(seen.size).toBeGreaterThan(5);
  });
});

const millPolicy = {
  version: 1,
  volume: { x: [-300, 0], y: [-200, 0], z: [-80, 0] },
  feed: { x: 2_000, y: 2_000, z: 500 },
  spindle: 12_000,
};
const frameAt = (change: Partial<MachineFrame> = {}): MachineFrame => ({
  position: [-1, -1, -1],
  origin: [-250, -150, -40],
  systems: [[-250, -150, -40], [-100, -50, -20], ...Array.from({ length: 4 }, () => [-1, -1, -1] as const)],
  homes: true,
  ...change,
});
const millWith = (change: object = {}, frame: Partial<MachineFrame> = {}): Rehearsed => ({
  dialect: 'mill',
  policy: safetyPolicySchema.parse({ ...millPolicy, ...change }),
  frame: frameAt(frame),
});
const cut =
  'G21 G90\nG53 G0 Z0\nM3 S10000\nG54 G0 X10 Y10\nG1 Z-1 F300\nX20\nG2 X30 Y10 I5 J0 F400\nG55 G0 X0 Y0\nM5\nM30\n';

describe('the envelope of a mill’s design', () => {
  it.each<[string, Rehearsed, string[]]>([
    ['a mill that can make it', millWith(), []],
    ['a workpiece too far to the right', millWith({}, { origin: [-25, -150, -40] }), ['volume']],
    [
      'a second workpiece elsewhere',
      millWith(
        {},
        {
          systems: [
            [-250, -150, -40],
            [10, -50, -20],
          ],
        },
      ),
      ['volume'],
    ],
    ['a spindle that is slower', millWith({ spindle: 9_000 }), ['spindle']],
    ['a slower Z axis', millWith({ feed: { x: 2_000, y: 2_000, z: 200 } }), ['feed']],
    ['a mill that cannot home', millWith({}, { homes: false }), ['position']],
    ['one whose position is trusted', millWith({ trustPosition: true }, { homes: false }), []],
    ['a forbidden command', millWith({ commands: { forbid: ['M3'] } }), ['command']],
  ])('is compared with %s', (_, machine, rules) => {
    expect(violatedRules(envelopeOf(cut), machine)).toEqual(rules);
    expect(stopsFor(cut, machine) === undefined).toBe(rules.length === 0);
  });

  it('names what no policy allows: a hot end, a tool length, a printer’s program', () => {
    for (const [text, rule] of [
      ['M104 S200\n', 'command'],
      ['G43.1 Z-5\n', 'command'],
      ['G1 X1 E1\n', 'form'],
      ['G1 X1 X2\n', 'form'],
      ['G2 X30 Y0 I15 J0 F400\n', 'position'],
    ] as const)
      expect(violatedRules(envelopeOf(text), millWith()), text).toEqual([rule]);
  });

  it('is small and complete for a design that chooses its work offsets over and over', () => {
    const turn = (n: number) => `G55\nG92 X0\nG54\nG1 X${n} F300\n`;
    const turns = (count: number) => envelopeOf(Array.from({ length: count }, (_, n) => turn(n)).join('')).mill;
    expect(turns(10)).not.toHaveProperty('fault');
    expect(turns(100)).toEqual({ fault: 'position' });
    const moves = (n: number) => `G53 G1 Y-9 F300\nG1 Y${n % 9} F${200 + n}\n`;
    const many = envelopeOf(Array.from({ length: 400 }, (_, n) => moves(n)).join(''));
    expect(violatedRules(many, millWith({ feed: { x: 599, y: 599, z: 599 } }))).toEqual([]);
    expect(violatedRules(many, millWith({ feed: { x: 599, y: 598, z: 599 } }))).toEqual(['feed']);
  });

  it('decides as the guard of the machine does', () => {
    const mm = fc.integer({ min: -60, max: 60 });
    const word = fc.tuple(fc.constantFrom('X', 'Y', 'Z'), mm).map((parts) => parts.join(''));
    const line = fc.oneof(
      { weight: 5, arbitrary: fc.tuple(fc.constantFrom('G0', 'G1'), word).map(([code, to]) => `${code} ${to}`) },
      { weight: 3, arbitrary: fc.tuple(mm, mm).map(([x, y]) => `G1 X${x} Y${y} F900`) },
      { weight: 3, arbitrary: word.map((to) => `G53 G0 ${to}`) },
      { weight: 1, arbitrary: word.map((to) => `G53 G1 ${to} F450`) },
      { weight: 2, arbitrary: word.map((to) => `G92 ${to}`) },
      { weight: 4, arbitrary: fc.constantFrom('G54', 'G55', 'G56', 'G90', 'G91', 'G91', 'G90') },
      { weight: 1, arbitrary: mm.map((x) => `G2 X${x} Y5 R200`) },
      { weight: 1, arbitrary: fc.constantFrom('G2 I5', 'M3 S9000', 'M3 S13000', 'M5', 'T2', 'G20', 'G38.2 Z-5') },
    );
    const text = fc.array(line, { maxLength: 14 }).map((lines) => `${lines.join('\n')}\n`);
    const place = fc.tuple(
      fc.integer({ min: -250, max: -5 }),
      fc.integer({ min: -150, max: -5 }),
      fc.integer({ min: -70, max: -1 }),
    );
    const machine = fc
      .record({
        position: place,
        systems: fc.array(place, { minLength: 6, maxLength: 6 }),
        shift: fc.boolean(),
        homes: fc.integer({ min: 0, max: 9 }),
      })
      .map(({ position, systems, shift, homes }) => {
        const [x, y, z] = systems[0] as [number, number, number];
        const origin = shift ? ([x + 3, y - 2, z] as const) : ([x, y, z] as const);
        return { position, systems, origin, homes: homes > 0 };
      });
    const change = fc.constantFrom<object>(
      {},
      { volume: { x: [-900, 900], y: [-900, 900], z: [-900, 900] } },
      { volume: { x: [-900, 900], y: [-900, 900], z: [-900, 900] }, feed: { x: 400, y: 900, z: 900 } },
      { volume: { x: [-900, 900], y: [-900, 900], z: [-900, 900] }, feed: { x: 9e4, y: 9e4, z: 9e4 }, spindle: 2e4 },
    );
    /** An arc may have no centre, whatever the policy says. */
    const orNoArc = <T>(work: () => T): T => {
      try {
        return work();
      } catch (error) {
        fc.pre(!(error instanceof MillraceError && error.code === 'E_GCODE'));
        throw error;
      }
    };
    const seen = new Map<unknown, number>();
    fc.assert(
      fc.property(text, machine, change, (program, frame, changed) => {
        const rehearsed = millWith(changed, frame);
        const rule = orNoArc(() => stopsFor(program, rehearsed));
        const envelope = orNoArc(() => envelopeOf(program));
        const rules = violatedRules(envelope, rehearsed);
        seen.set(rule, (seen.get(rule) ?? 0) + 1);
        // An arc between two zeros may turn out to be possible in the run: there a rehearsal says no, never yes.
        const isArc = 'fault' in envelope.mill && envelope.mill.fault === 'position' && /^G2 /m.test(program);
        if (rule !== undefined || !isArc) expect(rules.length === 0, rules.join()).toBe(rule === undefined);
      }),
      { numRuns: 600 },
    );
    for (const rule of [undefined, 'volume', 'feed', 'command', 'position']) expect(seen.get(rule)).toBeGreaterThan(5);
  });
});
