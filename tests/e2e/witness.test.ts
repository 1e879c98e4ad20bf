import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Closer } from '@millrace/base';
import { formatAddCheckpoint, type Ledger, parseWitnessSize } from '@millrace/ledger';
import { callPublic } from '@millrace/protocol';
import { MemoryStore, openTestLedger, request } from '@millrace/testkit/ledger/helpers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

// `millrace witness` as a process that is killed while it signs. It has only the log's verifier key.

const main = fileURLToPath(new URL('../../packages/cli/dist/program/main.js', import.meta.url));
const closer = new Closer();
let folder: string;
let ledger: Ledger;
let fork: Ledger;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace witness '));
  closer.add({ close: () => rm(folder, { recursive: true, force: true }) });
  [ledger, fork] = [await openTestLedger(new MemoryStore()), await openTestLedger(new MemoryStore())];
});
afterAll(() => closer.close());

interface Running {
  readonly child: ChildProcess;
  readonly key: string;
  readonly url: URL;
}

async function start(): Promise<Running> {
  const args = ['witness', join(folder, 'w'), '--name', 'w.example', '--log-key', ledger.logKey];
  const child = spawn(process.execPath, [main, ...args, '--listen', '127.0.0.1:0', '--json'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  closer.add({ close: () => void child.kill('SIGKILL') });
  let text = '';
  for await (const chunk of child.stdout) {
    text += String(chunk);
    if (!text.endsWith('}\n')) continue;
    const { key, url } = JSON.parse(text) as { key?: string; url?: string };
    if (key === undefined || url === undefined) break;
    return { child, key, url: new URL(`${url}/add-checkpoint`) };
  }
  throw new Error(`the witness did not start: ${text}`);
}

async function kill({ child }: Running): Promise<void> {
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

const add = async (url: URL, log: Ledger, old: number, size = log.size, checkpoint = log.checkpoint()) =>
  callPublic({
    url,
    body: formatAddCheckpoint({ old, proof: await log.proveConsistency(old, size), checkpoint }),
    maxBytes: 65_536,
  });

describe('a killed witness', () => {
  it('has recorded every head that it signed, and signs no other history afterwards', async () => {
    let signed = 0;
    let key: string | undefined;
    for (let round = 0; round < 3; round++) {
      const running = await start();
      key ??= running.key;
      expect(running.key).toBe(key);
      const known = parseWitnessSize((await add(running.url, ledger, ledger.size)).body) ?? ledger.size;
      expect(known).toBeGreaterThanOrEqual(signed);
      // One head after the other. After the third answer the witness is killed while it handles the next one.
      let last = known;
      for (let n = 0; n < 3; n++) {
        await ledger.append(request(`machine-${ledger.size}`, 'machine'));
        expect((await add(running.url, ledger, last)).status).toBe(200);
        last = ledger.size;
      }
      signed = last;
      await ledger.append(request(`machine-${ledger.size}`, 'machine'));
      const underWay = add(running.url, ledger, last).then(
        ({ status }) => status,
        () => 0,
      );
      await kill(running);
      if ((await underWay) === 200) signed = ledger.size;
    }
    const running = await start();
    while (fork.size < ledger.size) await fork.append(request(`other-${fork.size}`, 'machine'));
    const head = parseWitnessSize((await add(running.url, fork, 0)).body) ?? 0;
    expect(head).toBeGreaterThanOrEqual(signed);
    await fork.append(request(`other-${fork.size}`, 'machine'));
    expect((await add(running.url, fork, head)).status).toBe(422);
    await kill(running);
  });

  it('runs once per folder', async () => {
    const running = await start();
    await expect(start()).rejects.toThrow('E_CONFLICT');
    await kill(running);
  });
});
