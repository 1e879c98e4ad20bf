import { createCipheriv, randomBytes } from 'node:crypto';
import {
  createEngine,
  createReceiver,
  createSender,
  type MatrixParameters,
  type Receiver,
  type Sender,
} from '@millrace/live-matrix';
import { type Bench, type Candidate, measure, type Report, rowOf } from './bench.ts';
import { paperRows } from './bench-stream-paper.ts';
import { printRows } from './bench-stream-print.ts';
import { openTlsPair } from './bench-stream-tls.ts';

const CELL = 16_386;
const FRAMES = 64;
const RUNS = 7;
const MIB = 2 ** 20;

interface Pair {
  readonly label: string;
  readonly sender: Sender;
  readonly receiver: Receiver;
}

/** Parameters for the paper's costs: a table every five seconds, the consumption of a slow machine. */
const REVISION_SECONDS = 5;
const DRAW = 2_000;

/**
 * Cost of one session, at both ends and on the wire: encoding cells (one thread), decoding frames (all cores), a new
 * table. For comparison, a plain encrypted stream: AES-256-GCM over the same bytes, and both ends of TLS 1.3. Also the
 * costs of the paper's table 2 at its own prices, and prints by a whole installation. A core-second is a second of
 * processor time over all threads.
 */
export const benchStream: Bench = async (note) => {
  const cells = Array.from({ length: FRAMES }, () => new Uint8Array(randomBytes(CELL)));
  const engine = createEngine();
  note(`engine: ${engine.name}; ${FRAMES} cells of ${CELL} bytes a run`);
  const pairs: Pair[] = [];
  const tls = await openTlsPair();
  const candidates: Candidate[] = [
    aesGcm(cells),
    {
      name: 'TLS 1.3 over loopback, both ends',
      unit: 'MiB/core-s',
      run: () => byCore(() => tls.send(FRAMES * CELL)),
    },
  ];
  const wire: Report['rows'][number][] = [];
  try {
    for (const [label, parameters] of Object.entries(sets)) {
      const sessionId = new Uint8Array(randomBytes(16));
      const seed = new Uint8Array(randomBytes(32));
      const sender = createSender({ parameters, sessionId, seed, engine });
      const receiver = await createReceiver({ parameters, sessionId, seed });
      pairs.push({ label, sender, receiver });
      const first = sender.encode(0xffff_ffff, cells[0] ?? new Uint8Array(CELL));
      wire.push(rowOf(`${label}: frame bytes for a cell byte`, 'ratio', [first.length / CELL]));
      candidates.push(...candidatesOf({ label, sender, receiver }, cells));
    }
    const report = await measure(candidates, RUNS, [
      ['order 24 dense, encode to AES-256-GCM', 'order 24 dense: encode', 'AES-256-GCM'],
      ['order 24 dense, decode to encode', 'order 24 dense: decode', 'order 24 dense: encode'],
      [
        'order 24 dense, both ends without the table, to TLS 1.3',
        'order 24 dense: both ends',
        'TLS 1.3 over loopback, both ends',
      ],
    ]);
    const { content, wire: carried } = tls.written();
    wire.push(rowOf('TLS 1.3: bytes on the wire for a content byte', 'ratio', [carried / content]));
    const overhead = wire.find(({ name }) => name.startsWith('order 24 dense'))?.median ?? Number.NaN;
    const money = paperRows({
      overhead,
      hashesPerCell: CELL / 3,
      cellBytes: CELL,
      revisionSeconds: REVISION_SECONDS,
      bytesPerSecond: DRAW,
    });
    return { ...report, rows: [...report.rows, ...wire, ...money, ...(await printRows(note))] };
  } finally {
    tls.close();
    for (const { sender, receiver } of pairs) {
      sender.close();
      await receiver.close();
    }
  }
};

const sets: Readonly<Record<string, MatrixParameters>> = {
  'order 16 dense': { order: 16, suite: 'keccak256', hints: 'dense' },
  'order 24 dense': { order: 24, suite: 'keccak256', hints: 'dense' },
  'order 24 sparse': { order: 24, suite: 'keccak256', hints: 'sparse' },
};

function aesGcm(cells: readonly Uint8Array[]): Candidate {
  const key = randomBytes(32);
  return {
    name: 'AES-256-GCM',
    unit: 'MiB/s',
    run: () =>
      rate(() => {
        for (const cell of cells) {
          const cipher = createCipheriv('aes-256-gcm', key, randomBytes(12));
          cipher.update(cell);
          cipher.final();
        }
      }),
  };
}

function candidatesOf({ label, sender, receiver }: Pair, cells: readonly Uint8Array[]): Candidate[] {
  let number = 0;
  let frames: Uint8Array[] = [];
  return [
    {
      // A frame number must not be reused within a revision, so the next revision is prepared. Its table is a separate
      // figure.
      name: `${label}: next table ready`,
      unit: 'ms',
      run: async () => {
        const started = performance.now();
        sender.advance();
        await receiver.prepareNext();
        return performance.now() - started;
      },
    },
    {
      name: `${label}: encode`,
      unit: 'MiB/s',
      run: () =>
        rate(() => {
          frames = cells.map((cell) => sender.encode(number++, cell));
        }),
    },
    {
      name: `${label}: decode`,
      unit: 'MiB/s',
      run: () => rate(() => Promise.all(frames.map((frame) => receiver.decode(frame)))),
    },
    {
      name: `${label}: both ends`,
      unit: 'MiB/core-s',
      run: () =>
        byCore(async () => {
          for (const cell of cells) await receiver.decode(sender.encode(number++, cell));
        }),
    },
  ];
}

async function byCore(work: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (FRAMES * CELL) / MIB / ((user + system) / 1e6);
}

async function rate(work: () => unknown): Promise<number> {
  const started = performance.now();
  await work();
  return (FRAMES * CELL) / MIB / ((performance.now() - started) / 1_000);
}
