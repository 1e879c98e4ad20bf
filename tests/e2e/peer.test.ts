import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MemoryWatch } from '@millrace/testkit/memory';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('../../packages/cli/dist/program/main.js', import.meta.url));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace peer '));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const children = new Set<ChildProcess>();
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** A running command. Its standard input is closed unless the test writes to it. */
class Command {
  readonly child: ChildProcess;
  readonly ended: Promise<number | NodeJS.Signals>;
  stderr = '';
  readonly #stdout: Buffer[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(args: readonly string[], input: 'closed' | 'open' = 'closed') {
    this.child = spawn(process.execPath, [program, ...args], { cwd: folder, detached: true });
    children.add(this.child);
    if (input === 'closed') this.child.stdin?.end();
    this.child.stdin?.on('error', () => undefined);
    const told = () => {
      for (const look of this.#waiting) look();
    };
    this.child.stderr?.on('data', (text) => {
      this.stderr += String(text);
      told();
    });
    this.child.stdout?.on('data', (bytes: Buffer) => {
      this.#stdout.push(bytes);
      told();
    });
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        children.delete(this.child);
        resolve(code ?? signal ?? 'SIGKILL');
        told();
      });
    });
  }

  get stdout(): Buffer {
    return Buffer.concat(this.#stdout);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** The code of the only error that it reports. */
  get codes(): string[] {
    return [...this.stderr.matchAll(/error {3}(E_\w+)/g)].map(([, code]) => code ?? '');
  }

  json(): Record<string, unknown> {
    return JSON.parse(this.stdout.toString()) as Record<string, unknown>;
  }

  /** Waits until its standard output or error matches `pattern`. */
  says(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = pattern.exec(this.stderr) ?? pattern.exec(this.stdout.toString('latin1'));
        if (found !== null) resolve(found);
        else if (this.child.exitCode !== null) reject(new Error(`it ended: ${this.stderr}`));
        else return;
        this.#waiting.delete(look);
      };
      this.#waiting.add(look);
      look();
    });
  }
}

async function receiver(...args: string[]): Promise<{ command: Command; to: string; code: string }> {
  const command = new Command(['receive', '--listen', '127.0.0.1:0', ...args]);
  const [, to = ''] = await command.says(/--to (\S+)/);
  const code = args.includes('--key') ? '' : ((await command.says(/code {2}([\d-]+)/))[1] ?? '');
  return { command, to, code };
}

let files = 0;
async function fileOf(content: Uint8Array | string): Promise<string> {
  const name = `file ${files++}`;
  await writeFile(join(folder, name), content);
  return name;
}

const leftovers = async (name: string) => (await readdir(folder)).filter((one) => one.includes(name));

describe('send and receive', () => {
  it('transfer a file with a code from a file, and report it at both ends', async () => {
    const data = randomBytes(200_001);
    const { command, to, code } = await receiver('--output', 'got it', '--json');
    const sender = new Command(['send', await fileOf(data), '--to', to, '--code-file', await fileOf(code), '--json']);
    expect([await sender.ended, await command.ended]).toEqual([0, 0]);
    expect(sender.json()).toMatchObject({ bytes: 200_001, sha256: sha256(data), to });
    expect(command.json()).toMatchObject({ bytes: 200_001, sha256: sha256(data), file: join(folder, 'got it') });
    expect(sha256(await readFile(join(folder, 'got it')))).toBe(sha256(data));
    expect(await leftovers('got it')).toEqual(['got it']);
  });

  it('stream through pipes', async () => {
    const { command, to, code } = await receiver('--output', '-');
    const sender = new Command(['send', '-', '--to', to, '--code', code], 'open');
    for (const line of ['first', 'second']) {
      sender.child.stdin?.write(`${line}\n`);
      await command.says(new RegExp(`${line}\n`));
    }
    sender.child.stdin?.end('end');
    expect([await sender.ended, await command.ended]).toEqual([0, 0]);
    expect(command.stdout.toString()).toBe('first\nsecond\nend');
  });

  it('authenticate by keys, over a larger matrix with chaff', async () => {
    const fingerprints: string[] = [];
    for (const name of ['key a', 'key b', 'key c']) {
      const made = new Command(['peer-key', name, '--json']);
      expect(await made.ended).toBe(0);
      fingerprints.push(String(made.json().fingerprint));
    }
    const [a = '', b = '', c = ''] = fingerprints;
    const again = new Command(['peer-key', 'key a']);
    await again.ended;
    expect(again.stdout.toString()).toBe(`${a}\n`);

    const data = randomBytes(50_000);
    const { command, to } = await receiver('--output', 'by key', '--key', 'key a', '--peer', b);
    const send = ['send', await fileOf(data), '--to', to, '--key'];
    const stranger = new Command([...send, 'key c', '--peer', a]);
    const astray = new Command([...send, 'key b', '--peer', c]);
    expect([await stranger.ended, stranger.codes]).toEqual([3, ['E_STREAM_AUTH']]);
    expect([await astray.ended, astray.codes]).toEqual([3, ['E_STREAM_AUTH']]);
    const sender = new Command([...send, 'key b', '--peer', a, '--order', '24', '--chaff', '20']);
    expect([await sender.ended, await command.ended]).toEqual([0, 0]);
    expect(sha256(await readFile(join(folder, 'by key')))).toBe(sha256(data));
  });

  it('transfer 50 MB exactly, with no more memory than for 10 MB', { timeout: 300_000 }, async () => {
    // The smaller transfer is large enough for the collector's young generation to reach its final size.
    const peaks: number[][] = [];
    for (const size of [10_000_000, 50_000_000]) {
      const data = randomBytes(size);
      const { command, to, code } = await receiver('--output', `large ${size}`, '--json');
      const sender = new Command(['send', await fileOf(data), '--to', to, '--code', code, '--json']);
      const watch = new MemoryWatch();
      watch.watch('sender', sender.pid);
      watch.watch('receiver', command.pid);
      expect([await sender.ended, await command.ended]).toEqual([0, 0]);
      const { sender: one, receiver: other } = watch.take();
      watch.close();
      peaks.push([one?.resident ?? 0, other?.resident ?? 0]);
      expect(command.json()).toMatchObject({ bytes: size, sha256: sha256(data) });
      expect(sha256(await readFile(join(folder, `large ${size}`)))).toBe(sha256(data));
      await rm(join(folder, `large ${size}`));
    }
    const [small = [], large = []] = peaks;
    const growth = large.map((peak, i) => peak - (small[i] ?? 0));
    expect(Math.min(...small), String(peaks)).toBeGreaterThan(30); // sanity check of the measurement
    expect(Math.max(...growth), String(peaks)).toBeLessThan(40);
  });
});

describe('a failed transfer', () => {
  it('ends after three wrong codes, and leaves nothing behind', async () => {
    const { command, to, code } = await receiver('--output', 'secret');
    const wrong = code.replace(/\d$/, (digit) => String((Number(digit) + 1) % 10));
    for (let i = 0; i < 3; i++) {
      const guess = new Command(['send', await fileOf('x'), '--to', to, '--code', wrong]);
      expect([await guess.ended, guess.codes]).toEqual([3, ['E_STREAM_AUTH']]);
    }
    expect([await command.ended, command.codes]).toEqual([3, ['E_STREAM_AUTH']]);
    expect(await leftovers('secret')).toEqual([]);
  });

  it('ends on Ctrl-C at a waiting receiver', async () => {
    const { command } = await receiver('--output', 'nothing');
    command.child.kill('SIGINT');
    expect([await command.ended, command.codes]).toEqual([130, []]);
    expect(await leftovers('nothing')).toEqual([]);
  });

  it.each([
    ['SIGINT', 'sender', 130, 'E_STREAM_STOPPED'],
    ['SIGINT', 'receiver', 130, 'E_STREAM_STOPPED'],
    ['SIGKILL', 'sender', 'SIGKILL', 'E_STREAM_CUT'],
    ['SIGKILL', 'receiver', 'SIGKILL', 'E_STREAM_CUT'],
  ] as const)('%s at the %s: the other end reports it, and no file is made', async (signal, who, exit, code) => {
    const name = `${signal} ${who}`;
    const receiving = await receiver('--output', name);
    const sender = new Command(['send', '-', '--to', receiving.to, '--code', receiving.code], 'open');
    sender.child.stdin?.write(randomBytes(40_000));
    while ((await leftovers(name)).length === 0) await new Promise(setImmediate);
    const [stopped, other] = who === 'sender' ? [sender, receiving.command] : [receiving.command, sender];
    // By then the other computer has received part of the data.
    const staged = join(folder, (await leftovers(name))[0] ?? '');
    while ((await readFile(staged)).length < 40_000) await new Promise((resolve) => setTimeout(resolve, 20));
    stopped.child.kill(signal);
    expect(await stopped.ended).toBe(exit);
    expect([await other.ended, other.codes]).toEqual([5, [code]]);
    // A killed receiver cannot clean up. Its partial file is hidden and has another name.
    expect(await leftovers(name)).toEqual(name === 'SIGKILL receiver' ? [expect.stringMatching(/^\..*\.part$/)] : []);
  });

  it('ends when the reader of standard output exits', async () => {
    const { command, to, code } = await receiver('--output', '-');
    const sender = new Command(['send', '-', '--to', to, '--code', code], 'open');
    sender.child.stdin?.write('some\n');
    await command.says(/some/);
    command.child.stdout?.destroy();
    sender.child.stdin?.write('more\n');
    expect([await sender.ended, sender.codes]).toEqual([5, [expect.stringMatching(/^E_STREAM_(CUT|STOPPED)$/)]]);
    await command.ended;
  });

  it('needs a code, or a terminal to ask for one', async () => {
    const command = new Command(['send', '-', '--to', '127.0.0.1:1']);
    expect([await command.ended, command.codes]).toEqual([2, ['E_INPUT']]);
    expect(command.stderr).toContain('--code-file');
  });

  it('reports a receiver that is not listening', async () => {
    const command = new Command(['send', '-', '--to', '127.0.0.1:1', '--code', '1234567890']);
    expect([await command.ended, command.codes]).toEqual([5, ['E_UNAVAILABLE']]);
  });
});
