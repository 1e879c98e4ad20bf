import { systemRandom, toHex } from '@millrace/base';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { LicenceModel, type MachineName, type MadeObject, other } from './accounting/model.ts';
import { createInstallation, type Installation, World } from './accounting/world.ts';

// Licence accounting of control and both proactive nodes against a model, under any order of commands, deliveries,
// kills and restores (docs/adr/0048).

let system: Installation;
beforeAll(async () => {
  system = await createInstallation();
});

const RUNS = process.env.MILLRACE_RUNS;
const NODES = ['segments', 'keys'] as const;
const EVERYTHING = 1_000;

interface Run {
  readonly objects: number;
  readonly world: World;
  model: LicenceModel;
  /** Number of the owner's newest statement on the licence. */
  statement: number;
  backup?: { readonly model: LicenceModel; readonly amended: number; readonly rollBack: () => Promise<void> };
  /** Repeats at the model what parties have signed, in order. */
  readonly amended: ((model: LicenceModel) => string)[];
  /** Credits that any owner has signed, also those that control has lost since. */
  readonly credited: Set<number>;
  /** Numbers up to this one were given, also those that control has lost since. */
  given: number;
  rolledBack: boolean;
}

interface Choice {
  readonly of: number;
  readonly flag: boolean;
}
/** @property kill after how many writes control is killed, from this step on */
type Step = Choice & { readonly step: string; readonly kill?: number | undefined };

const requireSame = (actual: string, expected: string) => expect(actual.split(' or ')).toContain(expected);

/** Carries out an amendment or statement at both. */
async function amend(run: Run, apply: (model: LicenceModel) => string, done: Promise<string>): Promise<void> {
  const expected = apply(run.model);
  requireSame(await done, expected);
  if (expected === 'done') run.amended.push(apply);
}

/** Mostly one that the licence names. */
const machineOf = ({ model }: Run, { of, flag }: Choice): MachineName =>
  flag && (model.extended || of === 3) ? 'second' : 'first';

/** One of the objects that control knows, mostly one for which the step is meant. */
function objectOf({ model }: Run, { of }: Choice, meant: (object: MadeObject) => boolean = () => true) {
  const all = [...model.made.keys()];
  const fit = all.filter((number) => meant(model.made.get(number) as MadeObject));
  const numbers = of === 4 || fit.length === 0 ? all : fit;
  const number = numbers[of % Math.max(1, numbers.length)];
  const object = number === undefined ? undefined : model.made.get(number);
  return object === undefined || number === undefined ? undefined : { number, ...object };
}

const steps: Readonly<Record<string, (run: Run, choice: Choice) => Promise<unknown>>> = {
  order: async (run, choice) => {
    const { world, model } = run;
    const id = systemRandom(16);
    const asked = { machine: machineOf(run, choice), holder: choice.of % 5 === 4 ? other(model.holder) : model.holder };
    requireSame(await world.order(asked, id), model.order({ ...asked, print: toHex(id) }));
  },
  home: async (run, choice) => {
    const { world, model } = run;
    const machine = machineOf(run, choice);
    const queued = await world.waiting(machine);
    const expected = model.queue.filter((waiting) => waiting.machine === machine);
    expect(new Set(queued)).toEqual(new Set(expected.map(({ print }) => print)));
    const [print] = queued;
    const waiting = expected.find((each) => each.print === print);
    if (waiting === undefined) return;
    expect(await world.home(waiting.print, machine)).toBe('done');
    const number = model.permit(waiting);
    expect(await world.objectOf(waiting.print)).toBe(number);
    run.given = Math.max(run.given, number);
  },
  resume: async (run, choice) => {
    const object = objectOf(run, choice);
    if (object === undefined) return;
    expect(await run.world.home(object.print, object.machine, 1)).toBe(run.model.resume(object.number));
  },
  end: async (run, choice) => {
    const object = objectOf(run, choice, ({ end }) => end === undefined);
    if (object === undefined || object.end !== undefined) return;
    const end = choice.flag ? 'completed' : 'failed';
    const lines = choice.of === 0 ? undefined : choice.of * 3;
    expect(await run.world.report(object, end, lines)).toBe(run.model.report(object.number, end, lines));
    if (run.model.made.get(object.number)?.byPolicy) run.credited.add(object.number);
  },
  open: async (run, choice) => {
    const object = objectOf(run, choice, (each) => each.end !== undefined && each.case === undefined);
    if (object === undefined) return;
    const by = choice.of === 5 ? other(object.holder) : object.holder;
    requireSame(await run.world.openCase(object.number, by), run.model.openCase(object.number, by));
  },
  decide: async (run, choice) => {
    const object = objectOf(run, choice, (each) => each.case === 'open');
    if (object === undefined) return;
    const credit = choice.of !== 5;
    const expected = run.model.decide(object.number, credit);
    requireSame(await run.world.decide(object.number, credit), expected);
    if (credit && expected === 'done') run.credited.add(object.number);
  },
  extend: async (run) => {
    if (!run.model.extended) await amend(run, (model) => model.extend(), run.world.extend());
  },
  transfer: async (run, { of }) => {
    const from = of === 0 ? other(run.model.holder) : run.model.holder;
    const number = run.model.transfers + 1;
    await amend(run, (model) => model.transfer(from), run.world.transfer(from, other(from), number));
  },
  suspend: (run) => amend(run, (model) => model.suspend(), run.world.setStatus('suspend', ++run.statement)),
  reinstate: (run) => amend(run, (model) => model.reinstate(), run.world.setStatus('reinstate', ++run.statement)),
  revoke: async (run, { of, flag }) => {
    if (of < 2) await amend(run, (model) => model.revoke(flag), run.world.revoke(flag, ++run.statement));
  },
  /** An object that fails, and whose holder opens a case. */
  fail: async (run, { of }) => {
    for (const step of ['order', 'home', 'end', 'open']) await steps[step]?.(run, { of: of % 2, flag: false });
  },
  deliver: async (run, { of, flag }) => {
    const outcomes = await run.world.deliver(NODES[flag ? 1 : 0], 1 + of);
    if (!run.rolledBack) for (const outcome of outcomes) expect(outcome).toBe('done');
  },
  again: ({ world }, { of, flag }) => world.nodes[NODES[flag ? 1 : 0]].takeAgain(of),
  killNode: async ({ world }, { of, flag }) => world.nodes[NODES[flag ? 1 : 0]].killAfter(of % 3),
  backUp: async (run) => {
    run.backup = { model: run.model.copy(), amended: run.amended.length, rollBack: await run.world.backUp() };
  },
  rollBack: async (run) => {
    const { backup } = run;
    if (backup === undefined) return;
    await backup.rollBack();
    run.model = backup.model.copy();
    run.model.restore();
    for (const apply of run.amended.slice(backup.amended)) expect(apply(run.model)).toBe('done');
    run.rolledBack = true;
  },
  state: async (run, { of }) => {
    const { model, world, given } = run;
    // The owner knows how many were made. Anything above what control's records leave is refused.
    const left = Math.max(0, model.allowed - Math.max(given, model.used)) + (of === 5 ? EVERYTHING : 0);
    requireSame(await world.state(left), model.state(left));
  },
};

/** Whatever happened, nobody made more than the owner has allowed. */
function requireBounds({ objects, world, credited }: Run): void {
  const [segments, keys] = NODES.map((node) => world.nodes[node].begun) as [Map<number, string>, Map<number, string>];
  for (const begun of [segments, keys]) {
    expect(begun.size).toBeLessThanOrEqual(objects + credited.size);
    expect(new Set(begun.values()).size).toBe(begun.size);
  }
  for (const [number, print] of segments) expect(keys.get(number) ?? print).toBe(print);
}

/** Control shows what the model has, and the ledger's facts are the same. */
async function requireShown({ world, model }: Run): Promise<void> {
  expect(await world.shown(model.made.keys())).toEqual({
    used: model.used,
    credits: model.credits,
    facts: model.facts,
    objects: new Map([...model.made].map(([number, { facts }]) => [number, facts])),
  });
}

/** What is left can be made, and nothing more: no object is lost. */
async function makeTheRest(run: Run): Promise<void> {
  const { model, objects, credited } = run;
  const act = (step: string, of = 0, flag = false) => steps[step]?.(run, { of, flag });
  if (model.restored) await act('state');
  if (model.suspended && model.revoked === undefined) await act('reinstate');
  for (let turn = 0; turn <= objects + credited.size; turn++) {
    await act('order');
    for (const flag of [false, true]) await act('home', 0, flag);
  }
  for (const flag of [false, true]) await act('deliver', EVERYTHING, flag);
  requireBounds(run);
  await requireShown(run);
  if (run.model.revoked !== undefined) return;
  expect(run.model.used).toBe(run.model.allowed);
  if (run.rolledBack) return;
  const all = Array.from({ length: objects + credited.size }, (_, i) => i + 1);
  expect([...run.model.made.keys()].sort((a, b) => a - b)).toEqual(all);
  for (const node of NODES) expect([...run.world.nodes[node].begun.keys()].sort((a, b) => a - b)).toEqual(all);
}

const often = ['order', 'order', 'home', 'home', 'end', 'fail', 'open', 'decide', 'decide', 'deliver'];

/** A sequence that reaches every fact. */
const everything: Step[] = [
  ...['extend', 'transfer', 'fail', 'decide', 'suspend', 'reinstate', 'backUp', 'order', 'home', 'rollBack', 'state'],
  ...['fail', 'decide', 'revoke'],
].map((step) => ({ step, of: 1, flag: false }));

const only = (step: string, of = 0): Step => ({ step, of, flag: false });
const makeOne = [only('order'), only('home')];
/** Control loses a credit and the object that it allowed, which a node has begun. The owner then credits it again. */
const creditLost: Step[] = [
  ...[only('fail'), only('backUp'), only('decide'), ...makeOne, only('deliver', 5), only('rollBack')],
  ...[only('decide'), ...makeOne],
];
/** The same, although the owner has stated before that no object is left. */
const creditLostAndStated: Step[] = [
  ...[only('fail'), only('backUp'), only('decide'), ...makeOne, ...makeOne, only('deliver', 5), only('deliver', 5)],
  ...[only('rollBack'), only('state'), only('decide'), ...makeOne],
];

describe('a licence under any order of commands, deliveries, kills and restores', () => {
  it('allows what the model allows, and loses no count', { timeout: 600_000 }, async () => {
    const seen = new Map<string, number>();
    const step = fc.record({
      step: fc.constantFrom(...often, ...often, ...Object.keys(steps)),
      of: fc.integer({ min: 0, max: 5 }),
      flag: fc.boolean(),
      kill: fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat(9) }),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.array(step, { minLength: 10, maxLength: 30 }),
        async (objects, sequence) => {
          const terms = { objects, below: 10, most: 1 };
          const world = await World.begin(system, terms);
          const run: Run = {
            ...{ objects, world, model: new LicenceModel(terms), statement: 0, amended: [] },
            ...{ credited: new Set<number>(), given: 0, rolledBack: false },
          };
          for (const { step, kill, ...choice } of sequence) {
            if (kill !== undefined) world.killControlAfter(kill);
            await steps[step]?.(run, choice);
            requireBounds(run);
          }
          await makeTheRest(run);
          for (const fact of run.model.facts) seen.set(fact, (seen.get(fact) ?? 0) + 1);
        },
      ),
      // Making a failed sequence shorter takes minutes: only on demand.
      {
        numRuns: Number(RUNS ?? 60),
        examples: [
          [3, everything],
          [1, creditLost],
          [2, creditLostAndStated],
        ],
        endOnFailure: RUNS === undefined,
      },
    );
    // The sequences reach what they are for.
    for (const fact of ['credited', 'extended', 'transferred', 'suspended', 'revoked', 'resumed', 'failed early'])
      expect(seen.get(fact) ?? 0, fact).toBeGreaterThan(0);
  });
});
