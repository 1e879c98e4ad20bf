import { createHash, randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, Closer, systemRandom } from '@millrace/base';
import { openLmdb } from '@millrace/stores';
import {
  CellStore,
  CONTENT_BYTES,
  createKeyWrapper,
  decodeMessage,
  encodeManifest,
  encodeMessage,
  InProcessEngine,
  type MaintenanceMode,
  openFileEngine,
  openSlots,
  Playbook,
  readManifest,
  SEGMENT_BYTES,
  segmentHash,
  type VaultMessage,
  wipeMessage,
} from '@millrace/vault';

/** Segments per message. */
const STORED = 256;

/** Both parts of a vault in one folder, which exchange encoded messages without mail. */
export interface BenchVault {
  /** Cells of the design; a density below 100 adds decoys. */
  readonly cells: number;
  store(): Promise<void>;
  /** Reads every cell in the order of the design, by slices, as a stream does. */
  read(): Promise<void>;
  /** Sweeps to the next epoch. @returns the core time that the segments node measured, ms */
  sweep(): Promise<number>;
  close(): Promise<void>;
}

export interface BenchVaultOptions {
  readonly folder: string;
  readonly bytes: number;
  readonly mode: MaintenanceMode;
  /** Storage of cells: the file of slots, or LMDB alone. */
  readonly cells: 'file' | 'lmdb';
  /** Cells per message of a sweep; by default the playbook's. */
  readonly step?: number;
  /** Lanes of a sweep, one after the other; by default one, as for a single segments node. */
  readonly lanes?: number;
}

export async function openBenchVault(options: BenchVaultOptions): Promise<BenchVault> {
  const { folder, mode, step, lanes = 1 } = options;
  const segments = Math.max(1, Math.round(options.bytes / SEGMENT_BYTES));
  const closer = new Closer();
  await mkdir(folder, { recursive: true });
  const keys = closer.add(openLmdb({ path: join(folder, 'keys') }));
  const segmentsLmdb = closer.add(openLmdb({ path: join(folder, 'segments'), mapSize: 2 ** 36 }));
  const engine =
    options.cells === 'lmdb'
      ? new InProcessEngine(segmentsLmdb.cells('cells'))
      : closer.add(await openFileEngine({ lmdb: segmentsLmdb, index: 'cell-index', path: join(folder, 'cells.bin') }));
  const cells = new CellStore(engine);
  const playbook = closer.add(
    await Playbook.open({
      log: keys.log('playbook'),
      epochSlots: closer.add(await openSlots(join(folder, 'epoch.keys'))),
      designSlots: closer.add(await openSlots(join(folder, 'design.keys'))),
      wrapper: createKeyWrapper(systemRandom(32)),
      density: 100,
    }),
  );
  const sealed = sealedSegments();
  const manifestBytes = manifestOf(segments, mode, sealed);
  const manifest = readManifest(manifestBytes);
  const design = Uint8Array.from(Buffer.from(manifest.designId, 'hex'));
  const source = { sealed, hash: (n: number) => segmentHash(manifest, n) };

  return {
    cells: segments,
    store: async () => {
      await playbook.addDesign({ manifest: manifestBytes, keys: new Uint8Array(32 * segments) });
      for (let from = 0; from < segments; from += STORED) {
        const message = await playbook.instruct({ design, from, count: Math.min(STORED, segments - from) });
        if (message === undefined) throw new Error('a check runs');
        await playbook.stored(await cells.storeCells(message, source));
      }
    },
    read: async () => {
      for (let from = 0; from < segments; from += 64) {
        const slice = await playbook.slice(manifest.designId, from, Math.min(segments, from + 64));
        await Promise.all(slice.map(({ index }) => cells.read(index)));
      }
    },
    sweep: async () => {
      let work = 0;
      await playbook.beginSweep(lanes);
      for (;;) {
        const [lane] = playbook.status().sweep?.lanes ?? [];
        const message = lane === undefined ? undefined : await playbook.nextMaintenance(step, lane);
        if (message === undefined) return work;
        const arrived = overTheWire(message);
        wipeMessage(message);
        if (arrived.type !== 'maintain') throw new Error('not a step of a sweep');
        const answering = cells.maintain(arrived);
        await playbook.lookAhead(step, lane);
        const answer = await answering;
        wipeMessage(arrived);
        work += answer.work;
        const outcome = await playbook.maintained(answer);
        if (outcome === undefined || outcome.missing.length + outcome.damaged.length > 0)
          throw new Error('a cell is missing or damaged');
      }
    },
    close: () => closer.close(),
  };
}

function overTheWire(message: VaultMessage): VaultMessage {
  return decodeMessage(encodeMessage(message));
}

/** Stands in for a sealed segment: random bytes that differ by number. */
export function sealedSegments(): (n: number) => Bytes {
  const pool = new Uint8Array(randomBytes(SEGMENT_BYTES));
  return (n) => {
    const bytes = pool.slice();
    new DataView(bytes.buffer).setUint32(0, n);
    return bytes;
  };
}

export function manifestOf(segments: number, mode: MaintenanceMode, sealed: (n: number) => Bytes): Bytes {
  const hashes = new Uint8Array(32 * segments);
  for (let n = 0; n < segments; n++) hashes.set(createHash('sha256').update(sealed(n)).digest(), 32 * n);
  return encodeManifest({
    owner: new Uint8Array(33),
    custody: 'owner',
    kind: 'binary',
    size: segments * CONTENT_BYTES,
    segments,
    nonce: systemRandom(16),
    hashes,
    times: new Uint32Array(segments),
    contentMac: new Uint8Array(32),
    maintenance: mode,
    private: undefined,
  });
}
