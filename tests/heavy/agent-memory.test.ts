import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { copyBytes } from '@millrace/base';
import { createEngine, type EngineName } from '@millrace/live-matrix';
import { gcode } from '@millrace/testkit/designs';
import { hashOf, license, machineObject, objectOf, order, store, untilEnded } from '@millrace/testkit/job';
import { MemoryWatch } from '@millrace/testkit/memory';
import { factorFor } from '@millrace/testkit/pace';
import { coresOf } from '@millrace/testkit/process-cpu';
import { createTestInstallation, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterEach, describe, expect, it } from 'vitest';

// The memory of a whole machine agent at order 24, with two live tables, while it prints and draws the result.

const LIMIT_MS = 10 * 60_000;
/**
 * The pace at which the impeller takes a dozen revisions, and the large design several. At a higher pace the print ends
 * before there are two tables. The impeller is printed three times, to include what an agent keeps between prints.
 */
const designs = {
  'the impeller': {
    seconds: undefined,
    prints: 3,
    content: () => copyBytes(readFileSync(fileURLToPath(new URL('../../samples/impeller.gcode', import.meta.url)))),
  },
  '40 MB of G-code': { seconds: 30, prints: 1, content: () => gcode(40_000_000) },
} as const;

let system: TestInstallation | undefined;
let watch: MemoryWatch | undefined;
afterEach(async () => {
  watch?.close();
  await system?.close();
  system = undefined;
});

async function peakOfPrint(engine: EngineName, design: keyof typeof designs) {
  const { seconds, prints } = designs[design];
  const content = designs[design].content();
  const factor = seconds === undefined ? 300 : await factorFor(content, seconds);
  system = await createTestInstallation({
    machine: { factor, order: 24, engine, stallMs: 60_000, giveUpMs: LIMIT_MS },
  });
  watch = new MemoryWatch();
  watch.watch('machine', system.processes.machine.pid);
  const owner = await system.session('owner');
  const operator = await system.session('operator');
  const stored = await store(system, owner, content);
  const licence = await license(system, owner, stored.design, prints);
  for (let print = 0; print < prints; print++) {
    const view = await untilEnded(operator, await order(system, operator, licence), LIMIT_MS);
    expect(view).toMatchObject({ state: 'completed' });
    const made = await machineObject(system, objectOf(view));
    expect(made).toMatchObject({ bytes: content.length, sha256: hashOf(content) });
  }
  const peak = watch.take().machine;
  const idle = await coresOf(system.processes.machine.pid, 20_000);
  tell({ engine, design, idleCores: Math.round(10_000 * idle) / 10_000, ...peak });
  return { ...peak, idle };
}

/** Prints the figures, and stores them where MILLRACE_FIGURES says. */
function tell(figures: object): void {
  const line = JSON.stringify({ name: 'agent memory', ...figures });
  process.stdout.write(`${line}\n`);
  if (process.env.MILLRACE_FIGURES) writeFileSync(process.env.MILLRACE_FIGURES, `${line}\n`, { flag: 'a' });
}

/** Of an agent that waits for work. */
const IDLE_CORES = 0.01;
/** MB of a ready table. */
const TABLE = 60;
/**
 * MB, including the pages of Node's program. The target is 230. WebAssembly has two more worker threads, and cannot
 * release the memory left over from packing a table.
 */
const most = { native: 230, 'wasm-simd': 320 } as const;
const engines = (['native', 'wasm-simd'] as const).filter((name) => {
  try {
    return createEngine(name).name === name;
  } catch {
    process.stdout.write(`agent-memory.test: not measured with ${name}: it does not run here\n`);
    return false;
  }
});

describe.each(engines)('an agent at order 24 with the engine %s', (engine) => {
  it.each(['the impeller', '40 MB of G-code'] as const)(
    'stays below its limit while it prints %s and draws it',
    async (design) => {
      const peak = await peakOfPrint(engine, design);
      expect(peak.idle).toBeLessThan(IDLE_CORES);
      expect(peak.resident).toBeLessThanOrEqual(most[engine]);
      expect(peak.own).toBeGreaterThan(2 * TABLE); // there were two
    },
    LIMIT_MS,
  );
});
