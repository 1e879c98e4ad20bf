import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ownAddon } from '../src/engines/native-load.ts';
import { hold, ordinaryMemory, SecretPool } from '../src/secrets/memory.ts';
import { secretMemory, secretState } from '../src/secrets/node.ts';

const locks = process.platform === 'linux' && ownAddon().addon !== undefined;
if (!locks) process.stdout.write('secrets.test: no Linux or no native engine: locked pages are not looked at\n');

/** A pool over plain arrays. Records its requests and how often it was refused. */
function fakePool(allowed: number) {
  const asked: number[] = [];
  const refusals: number[] = [];
  let left = allowed;
  const pool = new SecretPool({
    lock: (bytes) => {
      asked.push(bytes);
      if (bytes > left) return undefined;
      left -= bytes;
      return new Uint8Array(bytes);
    },
    sizes: [4_096, 1_024],
    most: 8_192,
    onRefused: () => refusals.push(pool.locked),
  });
  return { pool, asked, refusals };
}

describe('a pool of secrets', () => {
  it('gives separate zeroed slots, and wipes a returned slot before it is reused', () => {
    const { pool, asked } = fakePool(4_096);
    const [a, b] = [pool.take(32), pool.take(64)];
    expect(a.length).toBe(32);
    a.fill(1);
    b.fill(2);
    expect(a.every((byte) => byte === 1)).toBe(true);
    pool.give(a);
    expect(a.every((byte) => byte === 0)).toBe(true);
    const again = pool.take(40);
    expect(again.byteOffset).toBe(a.byteOffset);
    expect(again.every((byte) => byte === 0)).toBe(true);
    expect(asked).toEqual([4_096]);
  });

  it('reuses a slot once when it is returned twice', () => {
    const { pool } = fakePool(4_096);
    const secret = pool.take(32);
    pool.give(secret);
    pool.give(secret);
    const [one, two] = [pool.take(32), pool.take(32)];
    expect(one.byteOffset).not.toBe(two.byteOffset);
  });

  it('copies a secret and wipes the original', () => {
    const { pool } = fakePool(4_096);
    const secret = new Uint8Array(48).fill(9);
    expect([...hold(pool, secret)]).toEqual(new Array(48).fill(9));
    expect(secret.every((byte) => byte === 0)).toBe(true);
  });

  it('requests less when it is refused, then continues in ordinary memory and reports it once', () => {
    const { pool, asked, refusals } = fakePool(1_024);
    const secrets = Array.from({ length: 40 }, (_, i) => pool.take(64).fill(i));
    expect(asked).toEqual([4_096, 1_024, 4_096, 1_024]);
    expect(refusals).toEqual([1_024]);
    expect(secrets.map((secret) => secret[63])).toEqual(Array.from({ length: 40 }, (_, i) => i));
    for (const secret of secrets) pool.give(secret);
    expect(secrets.every((secret) => secret.every((byte) => byte === 0))).toBe(true);
    expect(pool.take(2_000).length).toBe(2_000);
  });

  it('locks no more than its limit', () => {
    const { pool, refusals } = fakePool(1 << 20);
    for (let i = 0; i < 300; i++) pool.take(64);
    expect(pool.locked).toBe(8_192);
    expect(refusals).toHaveLength(1);
  });

  it('is optional: without it each secret is an array, also wiped', () => {
    const secret = ordinaryMemory.take(32).fill(3);
    ordinaryMemory.give(secret);
    expect(secret.every((byte) => byte === 0)).toBe(true);
  });
});

/** The number of locked pages of this process, excluded from dumps, that contain the bytes. */
function lockedPlacesOf(bytes: Uint8Array): number {
  const memory = openSync('/proc/self/mem', 'r');
  let places = 0;
  try {
    for (const block of readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)) {
      const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(block) ?? [];
      const flags = /^VmFlags: (.*)$/m.exec(block)?.[1]?.split(' ') ?? [];
      if (from === '' || !flags.includes('lo') || !flags.includes('dd')) continue;
      const content = Buffer.alloc(Number.parseInt(to, 16) - Number.parseInt(from, 16));
      readSync(memory, content, 0, content.length, Number.parseInt(from, 16));
      if (content.includes(Buffer.from(bytes))) places++;
    }
  } finally {
    closeSync(memory);
  }
  return places;
}

describe('the secret memory of the process', () => {
  it.runIf(locks)('is locked and not dumped, and is wiped when it is returned', () => {
    expect(secretState()).toMatchObject({ fault: undefined });
    const pattern = randomBytes(64);
    const secret = secretMemory().take(64);
    expect(lockedPlacesOf(pattern)).toBe(0);
    secret.set(pattern);
    expect(lockedPlacesOf(pattern)).toBe(1);
    secretMemory().give(secret);
    expect(lockedPlacesOf(pattern)).toBe(0);
    expect(secret.every((byte) => byte === 0)).toBe(true);
  });

  const dist = pathToFileURL(fileURLToPath(new URL('../dist/index.js', import.meta.url))).href;
  const script = `
    const { secretMemory, secretState, guardSecrets } = await import(${JSON.stringify(dist)});
    const said = [];
    guardSecrets({ info: (...line) => said.push(['info', ...line]), warn: (...line) => said.push(['warn', ...line]) });
    const secret = secretMemory().take(32).fill(7);
    const usable = secret.every((byte) => byte === 7);
    secretMemory().give(secret);
    const wiped = secret.every((byte) => byte === 0);
    console.log(JSON.stringify({ locked: secretState().locked, code: secretState().fault?.code, usable, wiped, said }));
  `;
  const run = (command: string, ...args: readonly string[]) => {
    const done = spawnSync(command, [...args, process.execPath, '--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    expect(done.stderr).toBe('');
    return JSON.parse(done.stdout) as { said: unknown[] };
  };

  it.runIf(locks)('is locked in another process, which other processes of the same user cannot inspect', () => {
    const result = run('env');
    expect(result).toMatchObject({ usable: true, wiped: true });
    expect(result.said).toEqual([
      ['info', { locked: expect.any(Number), unseen: true }, 'secrets are in locked memory'],
    ]);
  });

  it.runIf(
    locks && spawnSync('prlimit', ['--version']).status === 0 && spawnSync('setpriv', ['--version']).status === 0,
  )('is ordinary memory when the system cannot lock any: one line with a code, and everything works', () => {
    // Root may lock memory beyond the limit unless the capability is removed.
    const unprivileged = process.getuid?.() === 0 ? ['setpriv', '--bounding-set', '-ipc_lock'] : [];
    const result = run('prlimit', '--memlock=0:0', ...unprivileged);
    expect(result).toMatchObject({ locked: 0, code: 'E_MEMORY_LOCK', usable: true, wiped: true });
    expect(result.said).toEqual([
      ['warn', { code: 'E_MEMORY_LOCK', locked: 0, unseen: true }, expect.stringContaining('ordinary memory')],
    ]);
  });
});
