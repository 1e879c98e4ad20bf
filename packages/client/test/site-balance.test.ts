import type { Odometer } from '@millrace/protocol';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { balanceSite, type MachineStatement, type SiteFigures, type SpoolStatement } from '../src/site-balance.ts';

type Action =
  | { readonly do: 'print'; readonly seconds: number; readonly micrometres: number; readonly milligrams: number }
  | { readonly do: 'change' };

/** The figures of an honest machine, operator and control. A `change` unloads the spool and loads the next one. */
function honest(actions: readonly Action[]) {
  let [seconds, micrometres, milligrams, objects] = [59, 999_999, 999, 7];
  let [time, spool] = [1_000, 0];
  const used = [0];
  const statements: MachineStatement[] = [];
  const spools: SpoolStatement[] = [];
  const odometer = (): Odometer => ({
    minutes: Math.floor(seconds / 60),
    metres: Math.floor(micrometres / 1e6),
    grams: Math.floor(milligrams / 1e3),
    started: objects,
    ended: objects,
  });
  const nameOf = (each: number) => `spool-${each}`;
  const sign = (fields: Omit<MachineStatement, 'index' | 'time' | 'issued'>) => {
    time += 10;
    statements.push({ index: time, time, issued: time, ...fields });
  };
  const state = (kind: 'load' | 'unload') => {
    time += 10;
    const content = kind === 'load' ? { content: { name: 'PLA', supplier: 'ACME', grams: 100_000 } } : {};
    const by = { at: time, by: 'otto', used: used[spool] ?? 0 };
    spools.push({ statement: `${kind}-${spool}`, kind, spool: nameOf(spool), ...by, ...content });
  };
  state('load');
  for (const action of actions) {
    if (action.do === 'change') {
      state('unload');
      spool += 1;
      used[spool] = 0;
      state('load');
      continue;
    }
    const object = `object-${objects}`;
    const loaded = { spool: nameOf(spool), statement: `load-${spool}` };
    sign({ object, kind: 'asked', odometer: odometer(), loaded });
    seconds += action.seconds;
    micrometres += action.micrometres;
    milligrams += action.milligrams;
    objects += 1;
    const [metres, grams] = [Math.ceil(action.micrometres / 1e6), Math.ceil(action.milligrams / 1e3)];
    used[spool] = (used[spool] ?? 0) + grams;
    const charged = { used: { spool: nameOf(spool), metres, grams } };
    sign({ object, kind: 'ended', completed: true, odometer: odometer(), ...charged });
  }
  const counts = new Map(used.map((grams, i) => [nameOf(i), { before: grams, after: grams }]));
  return { statements, spools, counts } satisfies SiteFigures;
}

const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('print' as const),
      seconds: fc.nat(10_000),
      micrometres: fc.nat(20_000_000),
      milligrams: fc.nat(60_000),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'change' as const }) },
);

it('honest figures agree, whatever is rounded', () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 20 }), (actions) => {
      const figures = honest(actions);
      const { findings, odometer, printed, prints, stays } = balanceSite(figures);
      expect(findings).toEqual([]);
      for (const unit of ['metres', 'grams'] as const) {
        const rounded = printed[unit] - (odometer?.difference[unit] ?? 0);
        expect(rounded).toBeGreaterThanOrEqual(0);
        expect(rounded).toBeLessThanOrEqual(prints.length);
      }
      expect(stays.reduce((all, { counted }) => all + counted, 0)).toBe(printed.grams);
      // The order in which they are given makes no difference.
      const { statements, spools, counts } = figures;
      expect(balanceSite({ statements: [...statements].reverse(), spools: [...spools].reverse(), counts })).toEqual(
        balanceSite(figures),
      );
    }),
  );
});

describe('a mistake in one field', () => {
  const print = { do: 'print', seconds: 125, micrometres: 4_200_000, milligrams: 12_500 } as const;
  /** Two prints with the first spool, two with the second one, which is still loaded. */
  const figures = honest([print, print, { do: 'change' }, print, print]);
  const { spools, counts, statements } = figures;
  const changed = (place: number, change: Partial<MachineStatement>): SiteFigures => ({
    ...figures,
    statements: statements.map((each, i) => (i === place ? { ...each, ...change } : each)),
  });
  const found = (wrong: SiteFigures) =>
    balanceSite(wrong).findings.map(({ about, unit, expected, found }) => [about, unit, expected, found]);
  const odometerAt = (place: number) => statements[place]?.odometer as Odometer;
  const usedAt = (place: number) => statements[place]?.used as NonNullable<MachineStatement['used']>;
  const [REPORT, NEXT, LAST] = [1, 2, 7];

  it('none in the figures themselves', () => expect(found(figures)).toEqual([]));

  it.each(['metres', 'grams', 'started', 'ended'] as const)('%s between two prints', (unit) => {
    // Everything after the first print is one more.
    const later = statements.map((each, i) => {
      const odometer = each.odometer as Odometer;
      return i < NEXT ? each : { ...each, odometer: { ...odometer, [unit]: odometer[unit] + 1 } };
    });
    const value = odometerAt(REPORT)[unit];
    expect(found({ ...figures, statements: later })).toEqual([['object-8', unit, value, value + 1]]);
  });

  it('minutes between two prints, beyond the end of a motion', () => {
    const by = (minutes: number) =>
      statements.map((each, i) => {
        const odometer = each.odometer as Odometer;
        return i < NEXT ? each : { ...each, odometer: { ...odometer, minutes: odometer.minutes + minutes } };
      });
    expect(found({ ...figures, statements: by(1) })).toEqual([]);
    const { minutes } = odometerAt(REPORT);
    expect(found({ ...figures, statements: by(2) })).toEqual([['object-8', 'minutes', minutes, minutes + 2]]);
  });

  it.each(['minutes', 'metres', 'grams', 'started', 'ended'] as const)('%s that went back', (unit) => {
    const value = odometerAt(LAST - 1)[unit];
    const odometer = { ...odometerAt(LAST), [unit]: value - 1 };
    expect(found(changed(LAST, { odometer }))).toContainEqual(['object-10', unit, value, value - 1]);
  });

  it.each(['metres', 'grams'] as const)('%s that a report adds', (unit) => {
    const used = { ...usedAt(REPORT), [unit]: usedAt(REPORT)[unit] + 2 };
    const findings = found(changed(REPORT, { used }));
    const advanced = odometerAt(REPORT)[unit] - odometerAt(0)[unit];
    expect(findings).toContainEqual(['object-7', unit, used[unit], advanced]);
    // Control counts grams only.
    if (unit === 'grams') expect(findings).toContainEqual(['spool-0', 'grams', 28, 26]);
  });

  it('an object that is counted twice', () => {
    const odometer = { ...odometerAt(LAST), started: odometerAt(LAST).started + 1 };
    expect(found(changed(LAST, { odometer }))).toEqual([['object-10', 'started', 1, 2]]);
  });

  it('a report that charges another spool, or none, or has no odometer', () => {
    const other = { ...usedAt(REPORT), spool: 'spool-9' };
    expect(found(changed(REPORT, { used: other }))).toEqual(
      expect.arrayContaining([
        ['object-7', 'grams', 0, 13],
        ['spool-0', 'grams', 13, 26],
      ]),
    );
    expect(found(changed(REPORT, { used: undefined }))).toEqual(
      expect.arrayContaining([
        ['object-7', 'grams', 0, 13],
        ['spool-0', 'grams', 13, 26],
      ]),
    );
    const { ended } = odometerAt(0);
    expect(found(changed(REPORT, { odometer: undefined }))).toContainEqual(['object-7', 'ended', ended + 1, 0]);
  });

  it('a report that is missing', () => {
    const missing = { ...figures, statements: statements.filter((_, i) => i !== REPORT) };
    const { grams } = odometerAt(0);
    expect(found(missing)).toEqual(
      expect.arrayContaining([
        ['object-8', 'grams', grams, odometerAt(NEXT).grams],
        ['spool-0', 'grams', 13, 26],
      ]),
    );
  });

  it('a count of control, at a statement or now', () => {
    const atUnload = spools.map((each) => (each.kind === 'unload' ? { ...each, used: 27 } : each));
    expect(found({ ...figures, spools: atUnload })).toEqual([['spool-0', 'grams', 26, 27]]);
    const now = (before: number, after: number) => ({ ...figures, counts: new Map([['spool-1', { before, after }]]) });
    expect(found(now(25, 25))).toEqual([['spool-1', 'grams', 26, 25]]);
    expect(found(now(27, 30))).toEqual([['spool-1', 'grams', 26, 27]]);
    // A report came while the ledger was read.
    expect(found(now(13, 26))).toEqual([]);
    expect(found({ ...figures, counts: new Map() })).toEqual([['spool-1', 'grams', 26, 0]]);
  });

  it('more than was on the spool', () => {
    const light = spools.map((each) =>
      each.content === undefined ? each : { ...each, content: { ...each.content, grams: 25 } },
    );
    expect(found({ ...figures, spools: light })).toEqual([
      ['spool-0', 'grams', 25, 26],
      ['spool-1', 'grams', 25, 26],
    ]);
  });

  it.each([
    [
      'load',
      0,
      [
        ['spool-0', 'statements', 1, 0],
        ['object-7', 'grams', 0, 13],
      ],
    ],
    ['unload', 1, [['spool-0', 'statements', 1, 0]]],
  ] as const)('a statement that is missing: %s', (_, place, expected) => {
    const findings = found({ ...figures, spools: spools.filter((__, i) => i !== place) });
    expect(findings).toEqual(expect.arrayContaining(expected.map((each) => [...each])));
  });

  it('a print of a time without a spool', () => {
    const without = statements.map((each) => ({ ...each, loaded: undefined, used: undefined }));
    const findings = found({ statements: without, spools: [], counts });
    expect(findings.filter(([about]) => about === 'object-7')).toEqual([
      ['object-7', 'metres', 0, 5],
      ['object-7', 'grams', 0, 13],
    ]);
  });
});

it('a visit states its odometer at its end only', () => {
  const print = { do: 'print', seconds: 125, micrometres: 4_200_000, milligrams: 12_500 } as const;
  const { statements, ...rest } = honest([print, print]);
  const visit = statements.filter((_, i) => i !== 2);
  expect(balanceSite({ ...rest, statements: visit }).findings).toEqual([]);
});

it('a period has its own prints and odometer, and the whole stay of its spools', () => {
  const print = { do: 'print', seconds: 3_600, micrometres: 2_000_000, milligrams: 10_000 } as const;
  const figures = honest([print, print, { do: 'change' }, print]);
  const second = figures.statements[2]?.time ?? 0;
  const { findings, odometer, prints, stays } = balanceSite(figures, { from: second, to: second + 20 });
  expect(findings).toEqual([]);
  expect(prints.map(({ object }) => object)).toEqual(['object-8']);
  expect(odometer?.difference).toEqual({ minutes: 60, metres: 2, grams: 10, started: 1, ended: 1 });
  expect(stays.map(({ spool, counted, reported }) => [spool, counted, reported])).toEqual([['spool-0', 20, 20]]);
});
