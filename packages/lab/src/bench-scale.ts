import { MillraceError } from '@millrace/base';
import { type Bench, machine, type Ratio, type Row, rowOf } from './bench.ts';
import { type Measured, readMeasured, readScenario, type Scenario } from './scale/inputs.ts';
import { limits, plan, planned, shortestPeriod } from './scale/model.ts';
import { meanWait, type SweepOptions, simulatePermits, simulateSweep, sweepTime } from './scale/simulate.ts';

const RESULTS = 'docs/performance/results';
/** A host to compare limits with. */
const HOST = { cores: 64, memory: 512 * 2 ** 30 };
/** Cores of a segments host in the simulated sweep. */
const SWEEP_CORES = 4;
const STEP_CELLS = 4_096;
const LANES = 64;
/** Most entries of one commit of the ledger. */
const BATCH = 1_024;
const SEED = 1;
/** Objects of a simulation: enough for a mean within some percent. */
const SAMPLES = 200_000;

/**
 * What a scenario needs, from the reports of other benches, and a simulation that checks the arithmetic. Arguments: the
 * scenario and the folder of the reports (default: docs/performance/results). Report of `npm run bench -- NAME --json`.
 */
export const benchScale: Bench = async (note, args) => {
  const [scenarioFile = `${RESULTS}/million.json`, folder = RESULTS, ...more] = args;
  if (more.length > 0) throw new MillraceError('E_INPUT', 'usage: scale [SCENARIO [FOLDER_OF_REPORTS]]');
  const scenario = await readScenario(scenarioFile);
  const { measured, reports } = await readMeasured(folder);
  for (const { bench, date, load, machine: on, source = 'its own report' } of reports)
    note(`${bench}: ${date}, ${on.cores} cores of ${on.cpu}, load ${load.toFixed(1)}; ${source}`);
  note(`not measured: ${scenario.given.sources}; prices: ${scenario.prices.source}`);
  const rows: Row[] = [];
  const row = (name: string, unit: string, figure: number) => rows.push(rowOf(name, unit, [figure]));
  needRows(measured, scenario, row);
  const ratios = [...permitRatios(measured, scenario, row), ...sweepRatios(measured, scenario, row)];
  return { machine: machine(), rows, ratios };
};

type AddRow = (name: string, unit: string, figure: number) => void;

function needRows(measured: Measured, scenario: Scenario, row: AddRow): void {
  const { needs, cost, permitsPerSecond, appendsPerSecond, renewedPerSecond } = plan(measured, scenario);
  const { headroom } = scenario.given;
  row('permits in the busiest hour', '/s', permitsPerSecond);
  row('appends to the ledger in the busiest hour', '/s', appendsPerSecond);
  row('cells renewed', 'GB/s', renewedPerSecond / 1e9);
  for (const [kind, { cores, memory, stored, written }] of Object.entries(needs)) {
    row(`${kind}: cores`, 'cores', cores / headroom);
    if (memory > 0) row(`${kind}: memory`, 'GiB', memory / 2 ** 30 / headroom);
    if (stored > 0) row(`${kind}: disks`, 'TB', stored / 1e12 / headroom);
    if (written > 0) row(`${kind}: written to disks`, 'GB/s', written / 1e9);
  }
  row('cost of a month', scenario.prices.currency, cost);
  for (const { name, used, most } of limits(measured, scenario, HOST)) row(`${name} (up to ${most})`, '× of it', used);
  row('shortest period with 1,000 cores for cells', 's', shortestPeriod(scenario, 1_000));
}

/** Permits through the writer of the ledger, at the scenario's rate and where the writer is almost busy. */
function permitRatios(measured: Measured, scenario: Scenario, row: AddRow): Ratio[] {
  const { permitsPerSecond } = plan(measured, scenario);
  const { entries } = scenario;
  const full = 1 / (entries * measured.append + (measured.commit * entries) / BATCH);
  const ratios: Ratio[] = [];
  for (const [name, rate] of [
    ['permits of the scenario', permitsPerSecond],
    ['permits at 0.9 of what the writer appends', 0.9 * full],
  ] as const) {
    const cores = Math.ceil((rate * measured.permit) / scenario.given.headroom);
    const outcome = simulatePermits({
      ...{ rate, cores, entries, batch: BATCH, seed: SEED },
      permit: measured.permit,
      append: measured.append,
      commit: measured.commit,
      seconds: SAMPLES / rate,
    });
    row(`${name}: mean time to the answer, simulated`, 'ms', 1e3 * outcome.mean);
    row(`${name}: 99 %, simulated`, 'ms', 1e3 * outcome.p99);
    row(`${name}: busy share of the writer, simulated`, 'share', outcome.writer);
    row(`${name}: entries of a commit, simulated`, 'entries', outcome.perCommit);
    ratios.push({
      name: `${name}: busy share of the cores, simulated : arithmetic`,
      of: 'simulated',
      to: 'arithmetic',
      median: outcome.cores / ((rate * measured.permit) / cores),
    });
  }
  // One core without the ledger: the mean wait is known exactly.
  const rate = 0.8 / measured.permit;
  const alone = simulatePermits({
    ...{ rate, cores: 1, entries: 1, batch: BATCH, seed: SEED, append: 0, commit: 0 },
    permit: measured.permit,
    seconds: SAMPLES / rate,
  });
  const wait = alone.mean - measured.permit;
  ratios.push({
    name: 'wait for one core at 0.8, simulated : Pollaczek and Khinchine',
    of: 'simulated',
    to: 'formula',
    median: wait / meanWait(rate, measured.permit),
  });
  return ratios;
}

/** A sweep by segments nodes of a host each, until the keys node is the limit, and one through the loss of a node. */
function sweepRatios(measured: Measured, scenario: Scenario, row: AddRow): Ratio[] {
  const { cell, given } = scenario;
  const step = STEP_CELLS * cell;
  const planTime = step / planned(measured, scenario);
  const renewed = SWEEP_CORES * given.headroom * given.renewedInCassandra;
  const ratios: Ratio[] = [];
  for (const members of [1, 2, 4, 8]) {
    const options: SweepOptions = {
      ...{ cells: 1e13, step, lanes: LANES, members, renewed, plan: planTime, roundTrip: 0.05 },
    };
    const simulated = simulateSweep(options);
    row(`sweep of 10 TB by ${members} hosts, simulated`, 's', simulated);
    ratios.push({
      name: `sweep by ${members} hosts, simulated : arithmetic`,
      of: 'simulated',
      to: 'arithmetic',
      median: simulated / sweepTime(options),
    });
    if (members === 4)
      row('the same by 4 hosts, of which one is lost', 's', simulateSweep({ ...options, loss: { at: 60, pause: 10 } }));
  }
  return ratios;
}
