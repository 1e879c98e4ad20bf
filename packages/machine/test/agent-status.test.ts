import { systemRandom } from '@millrace/base';
import { storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, expect, test, vi } from 'vitest';

let bench: Bench | undefined;
afterEach(() => bench?.close());

const patient = { timeout: 60_000, interval: 5 };

test('an agent says what it does, how far a print is, and how it ended', async () => {
  const design = storeDesign(systemRandom(30 * 16_370));
  bench = await startBench({ design, bytesPerSecond: 200_000, factor: 1 });
  const { cloud, agent } = bench;
  const status = () => agent.status();
  await vi.waitFor(() => expect(status()).toMatchObject({ step: 'work', connected: true }), patient);
  expect(status().print).toBeUndefined();
  expect(status().last).toBeUndefined();

  await cloud.print();
  await vi.waitFor(() => expect(status().print?.taken).toBeGreaterThan(0), patient);
  const { step, machine, print } = status();
  expect({ step, state: machine.state }).toEqual({ step: 'print', state: 'running' });
  expect(print).toMatchObject({ segments: 30, sessions: 1 });
  expect(print?.got).toBeGreaterThanOrEqual(print?.taken ?? 0);
  // People at the machine see nothing of the design.
  expect(Object.keys(machine).sort()).toEqual(['starved', 'state', 'temperatures']);

  await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  await vi.waitFor(() => expect(status().last).toBeDefined(), patient);
  expect(status().print).toBeUndefined();
  expect(status().last?.error).toBeUndefined();
  expect(status().last?.object).toBe(cloud.reports.at(-1)?.object);
});

test('an agent says why it does not go on, until it does', async () => {
  const failures = { left: 2 };
  bench = await startBench({
    design: storeDesign(systemRandom(100)),
    wrapDriver: (driver) => ({
      ...driver,
      kind: driver.kind,
      capabilities: driver.capabilities,
      connect: async (expected) => {
        if (failures.left-- > 0) throw new Error('the cable is loose');
        return driver.connect(expected);
      },
      identify: () => driver.identify(),
      telemetry: () => driver.telemetry(),
      summary: () => driver.summary(),
      close: () => driver.close(),
    }),
    timing: { backoff: { firstMs: 200, mostMs: 200 } },
  });
  const { agent } = bench;
  await vi.waitFor(
    () => expect(agent.status()).toMatchObject({ step: 'machine', problem: { code: 'E_INTERNAL' } }),
    patient,
  );
  await vi.waitFor(() => expect(agent.status().step).toBe('work'), patient);
  expect(agent.status().problem).toBeUndefined();
});
