import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { statfsSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { license, machineObject, objectOf, order, untilEnded } from '@millrace/testkit/job';
import { MemoryWatch, type Peak } from '@millrace/testkit/memory';
import { createTestInstallation, processNames, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterEach, expect, it } from 'vitest';

// The memory of every process while a design of 100 MB, then one of 1.1 GB, goes through the whole chain. It may grow
// by the data kept per segment (hash, time, key: about 100 bytes), not by the size of the file.

const program = fileURLToPath(new URL('../../packages/cli/dist/program/main.js', import.meta.url));
const NEEDED = 8e9;
const HOUR = 60 * 60_000;
const RATE = 1_000_000_000;
const small = 100_000_000;
const large = Number(process.env.MILLRACE_LARGE ?? 1_100_000_000);

const { bavail, bsize } = statfsSync(tmpdir());
const free = bavail * bsize;
const enough = free >= NEEDED;
if (!enough) process.stdout.write(`memory.test: not run: ${tmpdir()} has ${(free / 1e9).toFixed(1)} GB free of 8 GB\n`);

let system: TestInstallation | undefined;
let watch: MemoryWatch | undefined;
afterEach(async () => {
  watch?.close();
  await system?.close();
  system = undefined;
});

interface Run {
  readonly store: Record<string, Peak>;
  readonly stream: Record<string, Peak>;
}

async function throughTheChain(bytes: number): Promise<Run> {
  system = await createTestInstallation({
    machine: { kind: 'sink', factor: 1, bytesPerSecond: RATE, order: 16, hints: 'sparse', giveUpMs: HOUR },
    // Often enough that the small run includes sweeps too.
    maintenance: { periodMs: 10_000, density: 100 },
  });
  watch = new MemoryWatch();
  for (const name of processNames) watch.watch(name, system.processes[name].pid);
  const file = join(system.scratch, 'large.bin');
  const sha256 = await writeRandom(file, bytes);

  const began = performance.now();
  const design = await addByCommand(system, watch, file);
  const stored = performance.now();
  const store = watch.take();
  const rate = (ms: number) => Math.round((bytes / 1e6 / ms) * 1e5) / 100;
  tell({ bytes, storeMBps: rate(stored - began), store });
  const owner = await system.session('owner');
  const operator = await system.session('operator');
  const licence = await license(system, owner, design, 1);
  const view = await untilEnded(operator, await order(system, operator, licence), HOUR);
  expect(view.state, JSON.stringify(view)).toBe('completed');
  const streamed = performance.now();
  expect(await machineObject(system, objectOf(view))).toMatchObject({ event: 'completed', bytes, sha256 });
  const stream = watch.take();
  tell({ bytes, streamMBps: rate(streamed - stored), stream });
  watch.close();
  await system.close();
  system = undefined;
  return { store, stream };
}

async function writeRandom(path: string, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  const file = await open(path, 'w');
  for (let done = 0; done < bytes; done += 1_000_000) {
    const chunk = randomBytes(Math.min(1_000_000, bytes - done));
    hash.update(chunk);
    await file.writeFile(chunk);
  }
  await file.close();
  return hash.digest('hex');
}

/** Runs `millrace design add` in its own process, as the owner does. */
function addByCommand({ home }: TestInstallation, memory: MemoryWatch, file: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const argv = [program, 'design', 'add', file, '--rate', String(RATE), '--json', '--home', home];
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    memory.watch('client', child.pid ?? 0);
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.once('error', reject);
    child.once('close', (code) => {
      if (code === 0) resolve((JSON.parse(text) as { design: string }).design);
      else reject(new Error(`design add ended with ${code}`));
    });
  });
}

function tell(figures: object): void {
  const line = JSON.stringify({ name: 'memory', ...figures });
  process.stdout.write(`${line}\n`);
  if (process.env.MILLRACE_FIGURES) writeFileSync(process.env.MILLRACE_FIGURES, `${line}\n`, { flag: 'a' });
}

it.runIf(enough)(
  'a design eleven times as large needs at most a hundred more bytes per segment',
  async () => {
    const little = [await throughTheChain(small)];
    const much = await throughTheChain(large);
    // Over both steps together: which of them includes a sweep is random.
    const peaks = ({ store, stream }: Run, name: string) => Math.max(store[name]?.own ?? 0, stream[name]?.own ?? 0);
    const grown = (name: string) => peaks(much, name) - Math.max(...little.map((run) => peaks(run, name)));
    const names = [...processNames, 'client'];
    // The small run is short, so that it can have met no full sweep: it is made once more.
    if (names.some((name) => grown(name) >= MAX_GROWN)) little.push(await throughTheChain(small));
    for (const name of names) {
      expect(peaks(much, name)).toBeGreaterThan(0);
      expect(grown(name), `${name}: its own memory grew by ${grown(name)} MB`).toBeLessThan(MAX_GROWN);
    }
  },
  4 * HOUR,
);

/** MB: a tenth of the larger file, for the data kept per segment and the collector's slack. */
const MAX_GROWN = 110;
