import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sleep, utf8 } from '@millrace/base';
import type { PrintView, Session } from '@millrace/client';
import { MarlinSimulator } from '@millrace/testkit/controllers/marlin';
import { missingPty, serveOnPty, serveOnSocket } from '@millrace/testkit/controllers/serve';
import { hashOf, license, machineObject, objectOf, order, store } from '@millrace/testkit/job';
import { MemoryWatch } from '@millrace/testkit/memory';
import { createTestInstallation } from '@millrace/testkit/test-installation';
import { expect, it } from 'vitest';

// A print at real speed on a Marlin controller behind a pseudo-terminal. Lines are damaged and answers lost all the
// time, and every few minutes a process of the cloud is killed. MILLRACE_MINUTES sets the length.

const MINUTES = Number(process.env.MILLRACE_MINUTES ?? 60);
const LINES_A_SECOND = 10;
const KILL_MS = Math.min(3 * 60_000, (MINUTES * 60_000) / 5);
const DOWN_MS = 5_000;
const nodes = ['distribution', 'control', 'segments', 'keys'] as const;

/** Moves of a millimetre, a tenth of a second each, without blanks: a controller receives exactly its bytes. */
function program(): Uint8Array {
  const lines = ['G21', 'G90', 'M83', 'M140 S60', 'M109 S210'];
  for (let n = 0; n < MINUTES * 60 * LINES_A_SECOND; n += 1)
    lines.push(`G1X${(n % 2) + 10}.125Y${20 + Math.floor(n / 2_000)}.25E0.0125F600`);
  return utf8(`${lines.join('\n')}\n`);
}

/** Polls across the times at which control is down. */
async function untilOver(operator: Session, print: string): Promise<PrintView> {
  for (const end = performance.now() + (MINUTES + 15) * 60_000; performance.now() < end; await sleep(2_000)) {
    const view = await operator.api.print(print).catch(() => undefined);
    if (view !== undefined && !['queued', 'permitted', 'running'].includes(view.state)) return view;
  }
  throw new Error('the print does not end');
}

it('a print at real speed, with faults, is made of exactly the bytes of the design, in constant memory', {
  timeout: (MINUTES + 20) * 60_000,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'millrace-hour-'));
  const faults = { damageEvery: 61, garbageEvery: 17, loseOkEvery: 997 };
  let serial = '';
  const options = {
    get uuid() {
      return serial;
    },
    ...{ moves: true, msPerSecond: 1_000, advancedOk: true, faults },
  };
  const device = new MarlinSimulator(options);
  const served =
    missingPty() === undefined ? await serveOnPty(device, join(folder, 'port')) : await serveOnSocket(device);
  const system = await createTestInstallation({
    machine: { kind: 'marlin', factor: 2, hints: 'sparse', order: 16, driver: { port: served.port } },
    start: [...nodes],
  });
  const watch = new MemoryWatch();
  try {
    serial = system.installation.description.machines[0]?.registration.serial ?? '';
    await system.processes.machine.start();
    watch.watch('machine', system.processes.machine.pid);
    const [owner, operator] = [await system.session('owner'), await system.session('operator')];
    const design = program();
    const stored = await store(system, owner, design);
    const licence = await license(system, owner, stored.design, 1);
    const print = await order(system, operator, licence);
    const began = performance.now();
    const peaks: number[] = [];
    let ended = false;
    const kills = (async () => {
      for (let turn = 0; !ended; turn += 1) {
        for (const end = performance.now() + KILL_MS; performance.now() < end && !ended; ) await sleep(1_000);
        if (ended) return;
        peaks.push(watch.take().machine?.own ?? 0);
        const node = nodes[turn % nodes.length] as (typeof nodes)[number];
        await system.processes[node].kill();
        await sleep(DOWN_MS);
        await system.processes[node].start();
      }
    })();
    const view = await untilOver(operator, print).finally(() => {
      ended = true;
    });
    await kills;
    const minutes = (performance.now() - began) / 60_000;
    const figures = {
      minutes,
      lines: device.executed.length,
      damaged: device.damaged,
      idleMs: device.longestIdleMs,
      peaks,
    };
    process.stdout.write(`${JSON.stringify({ name: 'hour', ...figures })}\n`);
    if (view.state !== 'completed')
      throw new Error(`${JSON.stringify(view)}\n${(await system.log('machine')).slice(-4_000)}`);
    expect(await machineObject(system, objectOf(view))).toMatchObject({ sha256: hashOf(design), event: 'completed' });
    expect(device.program).toBe(Buffer.from(design).toString());
    expect(device.damaged).toBeGreaterThan(MINUTES);
    expect(peaks.length).toBeGreaterThanOrEqual(3);
    // MB. The first interval has the start; the last ones are like the second.
    expect(Math.max(...peaks.slice(-2))).toBeLessThan((peaks[1] ?? 0) * 1.15 + 5);
  } finally {
    watch.close();
    await system.close();
    await served.close();
    await rm(folder, { recursive: true, force: true });
  }
});
