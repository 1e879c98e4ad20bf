import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemClock } from '@millrace/base';
import { codeOf, temporaryFolder, testInstallation, until } from '@millrace/testkit/cli/helpers';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { acquireLock, lockHolder } from '../src/supervisor/lock.ts';
import { openLogFile } from '../src/supervisor/log-file.ts';
import { backOffDelay, defaultBackOff, type ProcessSpec } from '../src/supervisor/managed-process.ts';
import { chooseAddresses } from '../src/supervisor/ports.ts';
import { followLogs, formatLogEntry, type LogEntry, logNames, readLogs } from '../src/supervisor/read-logs.ts';
import type { RunPaths } from '../src/supervisor/run-paths.ts';
import { stopSignals } from '../src/supervisor/signals.ts';
import { readSupervisorStatus } from '../src/supervisor/status.ts';
import { createSupervisor, type Supervisor } from '../src/supervisor/supervisor.ts';
import { startInstallation } from '../src/supervisor/up.ts';

const dummy = fileURLToPath(new URL('./fixtures/dummy.mjs', import.meta.url));
const quick = { firstMs: 10, mostMs: 40, resetAfterMs: 60_000, killAfterMs: 300 };

async function runPaths(): Promise<RunPaths> {
  const folder = await temporaryFolder();
  return {
    folder,
    lock: join(folder, 'supervisor.lock'),
    addresses: join(folder, 'addresses.json'),
    status: join(folder, 'status.json'),
    logs: join(folder, 'logs'),
  };
}

const running: Supervisor[] = [];
afterEach(async () => {
  for (const supervisor of running.splice(0)) await supervisor.stop();
});

async function supervise(run: RunPaths, logLimit?: number): Promise<Supervisor> {
  const limit = logLimit === undefined ? {} : { logLimit };
  const supervisor = await createSupervisor({ run, clock: systemClock, backOff: quick, ...limit });
  running.push(supervisor);
  return supervisor;
}

const program = (name: string, ...args: string[]): ProcessSpec => ({
  name,
  entry: dummy,
  args: ['--name', name, ...args],
});

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('back-off', () => {
  it('doubles from 250 ms to 10 s and stays there', () => {
    const delays = [0, 1, 2, 3, 4, 5, 6, 100].map((failures) => backOffDelay(failures, defaultBackOff));
    expect(delays).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
  });
});

describe('the supervisor', () => {
  it('waits until a process is ready, and records what runs', async () => {
    const run = await runPaths();
    const supervisor = await supervise(run);
    await supervisor.start(program('one', '--ready', '50'));
    const [one] = supervisor.status().processes;
    expect(one).toMatchObject({ name: 'one', state: 'running', restarts: 0, lastExit: null });
    expect(alive(one?.pid ?? 0)).toBe(true);
    await until(async () => (await readSupervisorStatus(run))?.processes[0]?.state === 'running');
    expect(await readSupervisorStatus(run)).toEqual(supervisor.status());
  });

  it('restarts a killed process, and records it', async () => {
    const run = await runPaths();
    const supervisor = await supervise(run);
    await supervisor.start(program('one'));
    const first = supervisor.status().processes[0]?.pid ?? 0;
    process.kill(first, 'SIGKILL');
    await until(() => supervisor.status().processes[0]?.restarts === 1);
    await until(() => supervisor.status().processes[0]?.state === 'running');
    const [one] = supervisor.status().processes;
    expect(one?.pid).not.toBe(first);
    expect(one?.lastExit).toMatchObject({ code: null, signal: 'SIGKILL' });
  });

  it('keeps restarting a process that exits repeatedly after it was ready', async () => {
    const supervisor = await supervise(await runPaths());
    await supervisor.start(program('one', '--exit', '60', '--code', '3'));
    await until(() => (supervisor.status().processes[0]?.restarts ?? 0) >= 3);
    expect(supervisor.status().processes[0]?.lastExit?.code).toBe(3);
  });

  it('gives up on a process that is never ready, with its last log line', async () => {
    const supervisor = await supervise(await runPaths());
    const word = JSON.stringify({ level: 'fatal', msg: 'cannot start', err: { message: 'node.json is missing' } });
    const start = supervisor.start(program('one', '--ready', '60000', '--exit', '10', '--code', '2', '--say', word));
    await expect(start).rejects.toMatchObject({
      code: 'E_UNAVAILABLE',
      message: 'one does not start (exit code 2): node.json is missing',
    });
    expect(supervisor.status().processes[0]).toMatchObject({ state: 'stopped', restarts: 2, pid: null });
  });

  it('stops all processes in reverse order, and cleans up', async () => {
    const run = await runPaths();
    const note = join(run.folder, 'notes');
    const supervisor = await supervise(run);
    for (const name of ['one', 'two', 'three']) await supervisor.start(program(name, '--note', note));
    await supervisor.publish({ any: 1 });
    const pids = supervisor.status().processes.map(({ pid }) => pid ?? 0);
    await supervisor.stop();
    expect(pids.map(alive)).toEqual([false, false, false]);
    const ended = (await readFile(note, 'utf8')).match(/term \w+/g);
    expect(ended).toEqual(['term three', 'term two', 'term one']);
    expect(await readSupervisorStatus(run)).toBeUndefined();
    await expect(readFile(run.addresses)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await lockHolder(run.lock)).toBeUndefined();
  });

  it('kills a process that ignores the stop signal', async () => {
    const supervisor = await supervise(await runPaths());
    await supervisor.start(program('one', '--deaf'));
    const pid = supervisor.status().processes[0]?.pid ?? 0;
    await supervisor.stop();
    expect(alive(pid)).toBe(false);
    expect(supervisor.status().processes[0]?.lastExit?.signal).toBe('SIGKILL');
  });

  it('can be stopped while a process starts', async () => {
    const supervisor = await supervise(await runPaths());
    const start = codeOf(supervisor.start(program('one', '--ready', '60000')));
    await supervisor.stop();
    expect(await start).toBe('E_UNAVAILABLE');
  });

  it('logs the output of processes as JSON lines, also what is not JSON', async () => {
    const run = await runPaths();
    const supervisor = await supervise(run);
    await supervisor.start(program('one', '--ready', '50', '--say', 'Segmentation fault'));
    await supervisor.stop();
    const [entry] = await readLogs(run.logs, ['one'], 10);
    expect(entry).toMatchObject({ level: 'error', name: 'one', msg: 'Segmentation fault' });
  });

  it('runs once per installation', async () => {
    const other = await runPaths();
    await acquireLock(other.lock, { pid: process.ppid });
    await expect(createSupervisor({ run: other, clock: systemClock })).rejects.toMatchObject({
      code: 'E_CONFLICT',
      data: { pid: process.ppid },
    });
  });

  it('takes over a lock with its own process id from an earlier run (in containers the id is always 1)', async () => {
    const run = await runPaths();
    await writeFile(run.lock, `${process.pid}\n`);
    await supervise(run);
    expect(await lockHolder(run.lock)).toBe(process.pid);
  });

  it('stops its processes when it is killed', async () => {
    const run = await runPaths();
    const host = fileURLToPath(new URL('./fixtures/host.mjs', import.meta.url));
    const child = spawn(process.execPath, [host, run.folder, dummy], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    const pids = (JSON.parse(line.toString()) as { processes: { pid: number }[] }).processes.map(({ pid }) => pid);
    expect(pids.map(alive)).toEqual([true, true]);
    child.kill('SIGKILL');
    await until(() => !pids.some(alive));
    // The stale lock is taken over, and the stale status is ignored.
    expect(await readSupervisorStatus(run)).toBeUndefined();
    const supervisor = await supervise(run);
    await supervisor.start(program('one'));
  });
});

describe('the lock', () => {
  it('is acquired by one of many concurrently', async () => {
    const { lock } = await runPaths();
    const pids = Array.from({ length: 20 }, (_, i) => 1_000_000 + i);
    const codes = await Promise.all(pids.map((pid) => codeOf(acquireLock(lock, { pid, isAlive: () => true }))));
    expect(codes.filter((code) => code === 'no error')).toHaveLength(1);
    expect(codes.filter((code) => code === 'E_CONFLICT')).toHaveLength(19);
  });

  it('is taken over from a dead process by one of many concurrently', async () => {
    const { lock } = await runPaths();
    await writeFile(lock, '999999\n');
    const pids = Array.from({ length: 20 }, (_, i) => 1_000_000 + i);
    const isAlive = (pid: number) => pid !== 999_999;
    const codes = await Promise.all(pids.map((pid) => codeOf(acquireLock(lock, { pid, isAlive }))));
    expect(codes.filter((code) => code === 'no error')).toHaveLength(1);
  });

  it('is released only by its holder', async () => {
    const { lock } = await runPaths();
    const own = await acquireLock(lock, { pid: 1_000_001, isAlive: () => false });
    const next = await acquireLock(lock, { pid: 1_000_002, isAlive: () => false });
    await own.release();
    expect(await lockHolder(lock, () => true)).toBe(1_000_002);
    await next.release();
    expect(await lockHolder(lock, () => true)).toBeUndefined();
  });
});

describe('ports', () => {
  const occupy = async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    return { port, close: () => new Promise((resolve) => server.close(resolve)) };
  };

  it('default to fixed ones, or to free ones when those are in use', async () => {
    const a = await occupy();
    const b = await occupy();
    await b.close();
    const usual = { control: a.port, distribution: b.port };
    const chosen = await chooseAddresses({}, usual);
    expect(chosen.control.port).not.toBe(a.port);
    // An outgoing connection could take a port of the ephemeral range while the node is stopped.
    expect(chosen.control.port).toBeGreaterThanOrEqual(10_000);
    expect(chosen.control.port).toBeLessThan(32_768);
    expect(chosen.distribution).toEqual({ host: '127.0.0.1', port: b.port });
    await a.close();
    expect((await chooseAddresses({}, usual)).control.port).toBe(a.port);
  });

  it('given by the user are used, or an error is returned', async () => {
    const a = await occupy();
    expect(await codeOf(chooseAddresses({ control: a.port }))).toBe('E_CONFLICT');
    await a.close();
    expect((await chooseAddresses({ control: a.port })).control.port).toBe(a.port);
    expect(await codeOf(chooseAddresses({ control: a.port, distribution: a.port }))).toBe('E_CONFLICT');
    expect(await codeOf(chooseAddresses({ host: '203.0.113.1' }))).toBe('E_CONFIG');
  });
});

describe('two installations that start at the same time', () => {
  it('get different ports', async () => {
    const listener = fileURLToPath(new URL('./fixtures/listener.mjs', import.meta.url));
    const starts = [await testInstallation(), await testInstallation()].map((installation) =>
      startInstallation({
        installation,
        clock: systemClock,
        entries: { node: listener, machine: dummy },
        backOff: quick,
        register: async () => undefined,
      }),
    );
    const both = await Promise.all(starts);
    running.push(...both.map(({ supervisor }) => supervisor));
    const ports = both.flatMap(({ addresses: { control, distribution, ledger, console: pages, browsers } }) => [
      control.port,
      distribution.port,
      ledger?.port,
      pages?.port,
      browsers?.port,
    ]);
    expect(new Set(ports).size).toBe(10);
    for (const { supervisor } of both) {
      expect(supervisor.status().processes.map(({ name, state }) => `${name} ${state}`)).toEqual([
        'control running',
        'distribution running',
        'segments running',
        'keys running',
        'virtual-1 running',
      ]);
    }
  });
});

describe('logs', () => {
  it('are limited to two files', async () => {
    const { folder } = await runPaths();
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ maxLength: 80 }), { maxLength: 60 }), async (texts) => {
        const name = `log-${Math.random().toString(36).slice(2)}`;
        const path = join(folder, `${name}.jsonl`);
        const log = openLogFile(path, 'x', 400);
        for (const text of texts) log.write(JSON.stringify({ time: 't', msg: text }));
        log.close();
        expect(statSync(path).size).toBeLessThanOrEqual(400);
        const entries = await readLogs(folder, [name], 1000);
        // The last entries are kept, complete.
        expect(entries.map(({ msg }) => msg)).toEqual(texts.slice(texts.length - entries.length));
      }),
      { numRuns: 50 },
    );
  });

  it('are read in order of time, and followed across a rotation', async () => {
    const { folder } = await runPaths();
    const line = (time: string, msg: string) => JSON.stringify({ time, level: 'info', name: 'n', msg });
    const a = openLogFile(join(folder, 'a.jsonl'), 'a', 300);
    const b = openLogFile(join(folder, 'b.jsonl'), 'b', 300);
    a.write(line('2026-01-01T00:00:01.000Z', 'first'));
    b.write(line('2026-01-01T00:00:02.000Z', 'second'));
    a.write(line('2026-01-01T00:00:03.000Z', 'third'));
    expect(await logNames(folder)).toEqual(['a', 'b']);
    expect((await readLogs(folder, ['a', 'b'], 2)).map(({ msg }) => msg)).toEqual(['second', 'third']);
    expect(await codeOf(readLogs(folder, ['c'], 2))).toBe('E_NOT_FOUND');

    const seen: LogEntry[] = [];
    const stop = new AbortController();
    const following = followLogs(folder, ['a', 'b'], (entry) => seen.push(entry), stop.signal);
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (let i = 0; i < 3; i += 1) {
      a.write(line(`2026-01-01T00:00:0${4 + i}.000Z`, `later ${i}`));
      await until(() => seen.length === i + 1);
    }
    stop.abort();
    await following;
    expect(seen.map(({ msg }) => msg)).toEqual(['later 0', 'later 1', 'later 2']);
    expect(readFileSync(join(folder, 'a.1.jsonl'), 'utf8')).toContain('first');
    a.close();
    b.close();
  });

  it('skip a truncated line', async () => {
    const { folder } = await runPaths();
    await appendFile(join(folder, 'a.jsonl'), '{"time":"1","msg":"whole"}\n{"time":"2","ms');
    expect(await readLogs(folder, ['a'], 10)).toEqual([{ time: '1', msg: 'whole' }]);
  });

  it('are readable, with control characters escaped', () => {
    const entry = {
      time: '2026-01-01T10:20:30.456Z',
      level: 'warn',
      name: 'keys',
      pid: 7,
      msg: 'stopped\u001b[2J\n',
      design: 'abc',
      err: { code: 'E_STORE', message: 'disk' },
    };
    expect(formatLogEntry(entry)).toBe('10:20:30.456 WARN  keys: stopped [2J  design=abc err="E_STORE: disk"');
  });
});

describe('signals', () => {
  it('abort once; a second one right after is ignored, a later one interrupts', () => {
    const listeners = new Map<string, () => void>();
    const source = {
      on: (signal: string, listener: () => void) => listeners.set(signal, listener),
      off: (signal: string) => listeners.delete(signal),
    };
    let now = 0;
    let insisted = 0;
    const stop = stopSignals(
      source,
      () => now,
      () => (insisted += 1),
    );
    expect(stop.signal.aborted).toBe(false);
    listeners.get('SIGINT')?.();
    expect(stop.signal.aborted).toBe(true);
    now = 200;
    listeners.get('SIGINT')?.();
    expect(insisted).toBe(0);
    now = 1_500;
    listeners.get('SIGTERM')?.();
    expect(insisted).toBe(1);
    stop.dispose();
    expect(listeners.size).toBe(0);
  });
});
