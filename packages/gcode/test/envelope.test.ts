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
  PolicyLimits,
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

/** The rule for which a machine with this policy stops, by its guard; undefined if it makes all of the design. */
function stopsFor(text: string, policy: ReturnType<typeof policyOf>): unknown {
  const guard = new SafetyGuard(new PolicyLimits(policy, 'printer'), 'printer');
  const execution = new Execution({
    command: (at) => guard.command(at),
    aimed: (at) => guard.aimed(at),
    planned: (direction, feed) => guard.planned(direction, feed),
  });
  const lines = new CommandLines(new Uint8Array(1_024));
  try {
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
    expect(envelope).toMatchObject({
      commands: ['G1', 'G28', 'G90', 'M104', 'M82', 'M84'],
      tools: [
        { tool: 0, volume: { x: [20, 20], y: [150, 150], z: [5, 5] } },
        { tool: 1, volume: { x: [120, 120], y: [20, 20], z: [6, 6] } },
      ],
      home: [],
      temperatures: { hotend: 210, bed: 0, chamber: 0 },
    });
    expect(envelope.fault).toBeUndefined();
    expect(violatedRules(envelope, policyOf())).toEqual(['tool']);
    expect(violatedRules(envelope, policyOf({ tools: [{}, {}] }))).toEqual([]);
  });

  it.each<[string, object, string[]]>([
    ['a smaller volume', { volume: { x: [0, 100], y: [0, 200], z: [0, 180] } }, ['volume']],
    ['a smaller volume of one tool', { tools: [{}, { volume: { x: [0, 50], y: [0, 200], z: [0, 180] } }] }, ['volume']],
    ['slower axes', { feed: { x: 12_000, y: 12_000, z: 60, e: 3_000 } }, ['feed']],
    ['a cooler hot end', { temperatures: { hotend: 200, bed: 100 } }, ['temperature']],
    ['a forbidden command', { commands: { forbid: ['M84'] } }, ['command']],
    ['several limits', { temperatures: { hotend: 200 }, commands: { forbid: ['G28'] } }, ['command', 'temperature']],
  ])('violates %s', (_name, change, rules) => {
    expect(violatedRules(envelopeOf(design), policyOf({ tools: [{}, {}], ...change }))).toEqual(rules);
  });

  it.each<[string, string]>([
    ['form', 'G28\nG1 X1 X2\n'],
    ['position', 'G1 X10 Y10\n'],
    ['form', 'g28\n'],
  ])('says that no policy allows a design with a fault of %s', (rule, text) => {
    expect(envelopeOf(text).fault).toBe(rule);
    expect(violatedRules(envelopeOf(text), policyOf())).toContain(rule);
  });

  it('counts places from where the axes are after homing', () => {
    const relative = envelopeOf('G28\nG91\nG1 X30 F600\nG92 X0\nG90\nG1 X10\n');
    expect(relative).toMatchObject({
      home: ['x'],
      tools: [{ volume: {}, fromHome: { x: [expect.closeTo(30, 3), expect.closeTo(40, 3)] } }],
    });
    expect(violatedRules(relative, policyOf())).toEqual([]);
    expect(violatedRules(relative, policyOf({ home: { x: 165, y: 0, z: 0 } }))).toEqual(['volume']);
    expect(violatedRules(relative, policyOf({ home: {} }))).toEqual(['position']);
  });

  it('is the same for a design that a slicer might write, however it is cut', () => {
    const text = Buffer.concat([...syntheticDesign({ bytes: 60_000 })]).toString();
    expect(violatedRules(envelopeOf(text), policyOf({ feed: { x: 2e4, y: 2e4, z: 2e4, e: 2e4 } }))).toEqual([]);
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
        const both = [own, other].every((one) => violatedRules(envelope, one).length === 0);
        verdicts.add(both);
        expect(violatedRules(envelope, commonPolicy(own, other)).length === 0).toBe(both);
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
        const policy = policyOf(changed);
        const rule = stopsFor(program, policy);
        seen.add(rule);
        expect(violatedRules(envelopeOf(program), policy).length === 0).toBe(rule === undefined);
      }),
      { numRuns: 300, examples: [['G28\nG1 X10 Y10 Z10 F600\nG1 Z12\n', { volume: policyOf().volume } as never]] },
    );
    expect(seen.size).toBeGreaterThan(5);
  });
});
