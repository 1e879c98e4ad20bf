import { spawnSync } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MillraceError } from '@millrace/base';
import { LANES, MAX_POINTS_SEGMENTS, type MaintenanceMode } from '@millrace/vault';
import { type Bench, machine, median, type Ratio, type Row, rowOf } from './bench.ts';
import { type BenchVault, type BenchVaultOptions, openBenchVault } from './bench-vault-setup.ts';

const MB = 1e6;
const SEGMENT = 16_386;
const SWEEPS = 3;
/**
 * Free disk space that a store needs: cells, slots for steps in progress, index, and the file of the disk benchmark.
 */
const ROOM = 1.5;
const PERIOD_S = 120;

interface Subject extends Omit<BenchVaultOptions, 'folder'> {
  readonly label: string;
}

/**
 * The durable vault: storing, reading, and a sweep in each mode, at growing sizes. Compared with its limits, measured
 * in the same run: AES-256-CTR of OpenSSL on one core, and the sequential write rate of the disk. `npm run bench --
 * vault [1GB|10GB]`.
 */
export const benchVault: Bench = async (note, args) => {
  const largest = sizeOf(args[0] ?? '1GB');
  const folder = resolve('.bench');
  await mkdir(folder, { recursive: true });
  const base = await mkdtemp(join(folder, 'vault-'));
  const rows: Row[] = [];
  const ratios: Ratio[] = [];
  try {
    const aes = [opensslRate(), opensslRate()];
    rows.push(rowOf('OpenSSL AES-256-CTR, 16 KiB, one core', 'MB/s', aes));
    rows.push(rowOf('the same through node:crypto, a key a cell', 'MB/s', [cipherRate(), cipherRate(), cipherRate()]));
    for (const subject of subjectsUpTo(largest)) {
      const { bavail, bsize } = await statfs(base);
      const wanted = subject.bytes * ROOM + 1e9;
      if (bavail * bsize < wanted) {
        note(
          `skipped: ${subject.label} needs ${Math.ceil(wanted / 1e9)} GB of free space; available: ${gigabytes(bavail * bsize)}`,
        );
        continue;
      }
      note(subject.label);
      await measureSubject(subject, join(base, subject.label), median(aes), rows, ratios);
    }
  } finally {
    await rm(base, { recursive: true, force: true, maxRetries: 3 });
  }
  return { machine: machine(), rows, ratios };
};

function subjectsUpTo(largest: number): Subject[] {
  const sizes = [1e8, 1e9, 1e10].filter((bytes) => bytes <= largest);
  const subject = (bytes: number, mode: MaintenanceMode, cells: 'file' | 'lmdb', lanes = 1): Subject => ({
    label: `${sizeName(bytes)} ${mode}${cells === 'lmdb' ? ' in LMDB alone' : ''}${lanes > 1 ? ` in ${lanes} lanes` : ''}`,
    bytes,
    mode,
    cells,
    lanes,
  });
  return [
    ...sizes.map((bytes) => subject(bytes, 'rekey', 'file')),
    ...sizes.map((bytes) => subject(bytes, 'rekey', 'file', LANES)),
    ...sizes.filter((bytes) => bytes <= 1e9).map((bytes) => subject(bytes, 'delta', 'file')),
    subject(1e8, 'rekey', 'lmdb'),
    subject(MAX_POINTS_SEGMENTS * SEGMENT, 'key-homomorphic', 'file'),
  ];
}

function sizeName(bytes: number): string {
  if (bytes >= 1e9) return `${bytes / 1e9} GB`;
  return bytes >= MB ? `${bytes / MB} MB` : `${Math.round(bytes / 1e3)} kB`;
}

async function measureSubject(
  subject: Subject,
  folder: string,
  aes: number,
  rows: Row[],
  ratios: Ratio[],
): Promise<void> {
  const { label } = subject;
  const vault = await openBenchVault({ ...subject, folder });
  const bytes = vault.cells * SEGMENT;
  try {
    const disk = [await diskRate(folder, bytes)];
    rows.push(rowOf(`${label}: store`, 'MB/s', [await rateOf(bytes, () => vault.store())]));
    rows.push(rowOf(`${label}: read`, 'MB/s', [await rateOf(bytes, () => vault.read())]));
    const sweeps: number[] = [];
    const perCore: number[] = [];
    for (let run = 0; run < SWEEPS; run++) {
      const { rate, core } = await sweepRate(vault, bytes);
      sweeps.push(rate);
      perCore.push(core);
      disk.push(await diskRate(folder, bytes));
    }
    rows.push(rowOf(`${label}: sweep`, 'MB/s', sweeps));
    rows.push(rowOf(`${label}: sweep, by core-second (both nodes)`, 'MB/s', perCore));
    rows.push(rowOf(`${label}: sequential write rate of the disk`, 'MB/s', disk));
    const limit = Math.min(aes, median(disk));
    const ratio = (name: string, of: string, to: string, value: number) => ratios.push({ name, of, to, median: value });
    ratio(`${label}: sweep to AES-256-CTR`, 'sweep', 'AES', median(sweeps) / aes);
    ratio(`${label}: sweep to the disk`, 'sweep', 'disk', median(sweeps) / median(disk));
    ratio(`${label}: sweep to the slower of the two`, 'sweep', 'limit', median(sweeps) / limit);
    rows.push(
      rowOf(
        `${label}: largest store renewed every ${PERIOD_S} s here`,
        'GB',
        sweeps.map((rate) => (rate * PERIOD_S * MB) / 1e9),
      ),
    );
    rows.push(
      rowOf(
        `${label}: the same by core-seconds, two whole cores, disk permitting`,
        'GB',
        perCore.map((rate) => (2 * rate * PERIOD_S * MB) / 1e9),
      ),
    );
  } finally {
    await vault.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function sweepRate(vault: BenchVault, bytes: number): Promise<{ rate: number; core: number }> {
  const before = process.cpuUsage();
  const rate = await rateOf(bytes, () => vault.sweep());
  const { user, system } = process.cpuUsage(before);
  return { rate, core: bytes / MB / ((user + system) / 1e6) };
}

async function rateOf(bytes: number, work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return bytes / MB / ((performance.now() - started) / 1_000);
}

/**
 * Sequential durable write of as many bytes as the store has, between 256 MB and 1 GB, in writes of 4 MB with one flush
 * at the end.
 */
async function diskRate(folder: string, bytes: number): Promise<number> {
  const path = join(folder, 'sequential');
  const block = randomBytes(4 << 20);
  const blocks = Math.ceil(Math.min(1e9, Math.max(256e6, bytes)) / block.length);
  const file = await open(path, 'w');
  try {
    return await rateOf(blocks * block.length, async () => {
      for (let i = 0; i < blocks; i++) await file.write(block);
      await file.datasync();
    });
  } finally {
    await file.close();
    await rm(path);
  }
}

/** Result of `openssl speed`; without that program, the rate of Node's OpenSSL with one key. */
function opensslRate(): number {
  const args = ['speed', '-mr', '-seconds', '1', '-bytes', '16384', '-evp', 'aes-256-ctr'];
  const { stdout } = spawnSync('openssl', args, { encoding: 'utf8' });
  const bytes = Number(/^\+F:[^:]*:[^:]*:([\d.]+)/m.exec(stdout ?? '')?.[1]);
  if (bytes > 0) return bytes / MB;
  const cipher = createCipheriv('aes-256-ctr', randomBytes(32), new Uint8Array(16));
  return cellsRate((cell) => void cipher.update(cell));
}

function cipherRate(): number {
  const key = randomBytes(32);
  return cellsRate((cell) => void createCipheriv('aes-256-ctr', key, new Uint8Array(16)).update(cell));
}

function cellsRate(work: (cell: Uint8Array) => void): number {
  const cell = randomBytes(SEGMENT);
  const started = performance.now();
  let cells = 0;
  for (; performance.now() - started < 500; cells++) work(cell);
  return (cells * SEGMENT) / MB / ((performance.now() - started) / 1_000);
}

function sizeOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(MB|GB)$/i.exec(text);
  if (match === null) throw new MillraceError('E_INPUT', 'expected a size such as 100MB, 1GB or 10GB');
  return Number(match[1]) * (match[2]?.toUpperCase() === 'GB' ? 1e9 : MB);
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
