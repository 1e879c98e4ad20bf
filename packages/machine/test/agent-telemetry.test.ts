import { type Bytes, utf8 } from '@millrace/base';
import { openOwnerState } from '@millrace/protocol';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, describe, expect, test } from 'vitest';
import type { Driver } from '../src/drivers/contract.ts';

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

/** A part whose numbers occur nowhere else by chance: hundredths of millimetres, and thousands of lines. */
function oddGcode(lines: number): Bytes {
  const text = ['G28', 'G21', 'G90', 'M82', 'G1 Z0.2 F6000'];
  for (let i = 1; i <= lines; i++) {
    const [x, y] = [137.37 + 31 * Math.cos(i / 17), 121.13 + 29 * Math.sin(i / 19)];
    const layer = i % 1_000 === 0 ? ` Z${(0.2 + i / 5_000).toFixed(3)}` : '';
    text.push(`G1 X${x.toFixed(3)} Y${y.toFixed(3)}${layer} E${(i * 0.0371).toFixed(4)} F3000`);
  }
  return utf8(`${text.join('\n')}\n`);
}

/** Every number in a value and its nested values. */
function* numbersIn(value: unknown): Generator<number> {
  if (typeof value === 'number' || typeof value === 'bigint') yield Number(value);
  else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array))
    for (const part of Object.values(value)) yield* numbersIn(part);
}

/** The machine's state each time the agent read it, as numbers that reveal something of the design. */
function watched() {
  const seen = new Set<number>();
  const telling = (value: number) => (Number.isInteger(value) ? value > 1_000 : true);
  const wrapDriver = (driver: Driver): Driver => {
    const telemetry = driver.telemetry.bind(driver);
    driver.telemetry = () => {
      const now = telemetry();
      const { x, y, z } = now.position;
      const exact = [x, y, z, now.line, now.odometer, now.executedBytes].filter(telling);
      for (const value of exact) {
        seen.add(value);
        seen.add(Math.round(value * 100) / 100);
        seen.add(Math.round(value * 1_000));
      }
      return now;
    };
    return driver;
  };
  return { seen, wrapDriver };
}

async function printWatched(lines: number) {
  const { seen, wrapDriver } = watched();
  const design = storeDesign(oddGcode(lines));
  bench = await startBench({ design, kind: 'virtual', factor: 150, wrapDriver });
  const { cloud } = bench;
  await cloud.print();
  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  return { cloud, seen, design };
}

describe('what the cloud sees of a machine', () => {
  test('holds no position, line, layer, length of filament or byte count of the design', async () => {
    const { cloud, seen, design } = await printWatched(6_000);
    // The nodes hold the session's seed. This is the telemetry and the reports as they can decrypt them.
    // Bytes and hints of the link are excluded: numbers of that size may equal one of the design's by chance.
    const live = cloud.telemetry.map(({ machine: { wire: _, hints: __, ...machine } = {}, ...rest }) => [
      machine,
      rest,
    ]);
    const told = [...numbersIn(live), ...numbersIn(cloud.reports.map(({ facts }) => facts))];
    expect(told.filter((value) => seen.has(value))).toEqual([]);
    expect(seen.size).toBeGreaterThan(20);
    const fields = new Set(cloud.telemetry.flatMap(({ machine }) => Object.keys(machine ?? {})));
    expect([...fields].sort()).toEqual(['buffer', 'hints', 'state', 'temperatures', 'wire']);
    const facts = new Set(cloud.reports.flatMap((report) => Object.keys(report.facts)));
    expect([...facts].sort()).toEqual(['contentMac', 'material', 'sealed', 'segments', 'serial']);
    expect(cloud.reports.at(-1)?.facts.segments).toBe(design.cells.length);
  });

  test('reaches the owner sealed, live and with each report', async () => {
    const { cloud, seen, design } = await printWatched(6_000);
    const sealed = cloud.telemetry.filter((telemetry) => telemetry.sealed !== undefined);
    const live = await Promise.all(sealed.map((telemetry) => cloud.openTelemetry(telemetry)));
    expect([...numbersIn(live)].filter((value) => seen.has(value)).length).toBeGreaterThan(5);
    expect(new Set(sealed.map((telemetry) => telemetry.sealed?.length)).size).toBe(1);
    const reports = await Promise.all(cloud.reports.map((report) => cloud.openReport(report)));
    expect(reports[0]).toMatchObject({ line: 0, bytes: 0, filament: 0 });
    expect(reports.at(-1)).toMatchObject({ line: 6_005, bytes: design.bytes.length, layer: 7, filament: 222.6 });
    expect(live.every(({ time }, i) => time >= (live[i - 1]?.time ?? 0))).toBe(true);
  });

  test('a machine reports only the fields that it has', async () => {
    const mill = (driver: Driver): Driver =>
      Object.defineProperty(driver, 'capabilities', {
        value: { ...driver.capabilities, heaters: [], layers: false, filament: false },
      });
    bench = await startBench({ design: storeDesign(oddGcode(400)), kind: 'virtual', factor: 1e6, wrapDriver: mill });
    const { cloud } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
    const states = cloud.telemetry.flatMap(({ machine }) => (machine === undefined ? [] : [machine]));
    expect(states.length).toBeGreaterThan(0);
    for (const { temperatures } of states) expect(temperatures).toEqual({});
    const completed = cloud.reports.at(-1);
    if (completed === undefined) throw new Error('no report');
    const own = await cloud.openReport(completed);
    expect(Object.keys(own).sort()).toEqual(['bytes', 'line', 'position', 'time']);
  });

  test('a licence without the owner’s key starts nothing', async () => {
    const design = storeDesign(oddGcode(400));
    bench = await startBench({ design, kind: 'virtual', telemetryKey: new Uint8Array(65) });
    const { cloud } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.length > 0);
    expect(cloud.reports).toMatchObject([{ event: 'failed', facts: { code: 'E_INPUT', segments: 0 } }]);
    expect(bench.executed().length).toBe(0);
  });

  test('before the machine starts, its state contains nothing of the previous run', async () => {
    const { cloud } = await printWatched(2_000);
    const before = cloud.telemetry.length;
    await cloud.print();
    await cloud.until(() => cloud.reports.filter(({ event }) => event === 'completed').length === 2);
    const waiting = cloud.telemetry.slice(before).filter(({ machine }) => machine?.state === 'waiting');
    expect(waiting.length).toBeGreaterThan(0);
    const { installation } = cloud.directory;
    const [, second] = cloud.sessions;
    if (second === undefined) throw new Error('no second session');
    for (const { sealed } of waiting) {
      const binding = { installation, object: second.parameters.object };
      const own = await openOwnerState(cloud.sealingKey, binding, second.session, sealed ?? new Uint8Array());
      expect(Object.keys(own).sort()).toEqual(['bytes', 'time']);
    }
  });
});
