import type { HashKey } from '../engines/engine.ts';
import { keccakP, loadBlock } from '../engines/keccak.ts';
import { DispatchRunner, MAX_DISPATCH, type Piece } from './runner.ts';
import type { Adapter, AdapterInfo, Gpu } from './webgpu.ts';

/**
 * H on a graphics card, through WebGPU. Gives the same results as every `HashEngine`, but asynchronously, like WebGPU.
 * Calls may overlap; they run one after the other.
 */
export interface GpuEngine {
  readonly name: 'gpu';
  /** Vendor and model of the card, for the log. */
  readonly detail: string;
  /** Whether the adapter computes on the processor: correct, but slower than the other engines. */
  readonly software: boolean;
  /** As `HashEngine.hashBatch`. Rejects with a RangeError for wrong sizes, an Error if the card is lost or closed. */
  hashBatch(key: HashKey, high: number, values: Uint32Array, out: Uint32Array): Promise<void>;
  /** As `HashEngine.hashRange`. */
  hashRange(key: HashKey, first: number, out: Uint32Array, high?: number): Promise<void>;
  /** Waits for pending calls and releases the card. */
  close(): Promise<void>;
}

export interface GpuOptions {
  /** Also accept an adapter that computes on the processor, to test the engine without a card. */
  readonly software?: boolean;
  /** Source of adapters. Default: the browser, or Node's optional binding. */
  readonly gpu?: Gpu;
  /** Called with the reason if the engine is unavailable. */
  readonly note?: (reason: string) => void;
}

/** The engine, after it computed known hashes correctly. Undefined if no card is present or the card does not work. */
export async function createGpuEngine(options: GpuOptions = {}): Promise<GpuEngine | undefined> {
  const { software = false, note = () => undefined } = options;
  try {
    const found = await findAdapter(options.gpu ?? browserGpu(), software);
    if (typeof found === 'string') {
      note(found);
      return undefined;
    }
    const { gpu, adapter } = found;
    if (isSoftware(adapter.info) && !software) {
      note(`the only WebGPU adapter computes on the processor: ${describe(adapter.info)}`);
      return undefined;
    }
    const engine = await openEngine(gpu, adapter);
    if (await isRight(engine)) return engine;
    await engine.close();
    note(`the WebGPU adapter computes wrong hashes: ${describe(adapter.info)}`);
  } catch (error) {
    note(`WebGPU does not work here: ${error instanceof Error ? error.message : String(error)}`);
  }
  return undefined;
}

/** An adapter and its source, or the reason why none was found. Prefers a card to software. */
async function findAdapter(
  given: Gpu | undefined,
  software: boolean,
): Promise<{ readonly gpu: Gpu; readonly adapter: Adapter } | string> {
  const gpu = given ?? (await nodeGpu(software));
  if (typeof gpu === 'string') return gpu;
  const adapter =
    (await gpu.requestAdapter({ powerPreference: 'high-performance' })) ??
    (software ? await gpu.requestAdapter({ forceFallbackAdapter: true }) : null);
  return adapter === null ? 'WebGPU has no adapter here' : { gpu, adapter };
}

/**
 * References kept until the engine is closed: Node's binding frees the memory of the result of `create` when it is
 * unreferenced, even while its devices work. The reference does not keep the process alive.
 */
const open = new Set<Gpu>();

async function openEngine(gpu: Gpu, adapter: Adapter): Promise<GpuEngine> {
  open.add(gpu);
  const device = await adapter.requestDevice().catch((error: unknown) => {
    open.delete(gpu);
    throw error;
  });
  let ended: string | undefined;
  void device.lost.then(({ message }) => {
    ended ??= `the card was lost: ${message}`;
  });
  const runner = await DispatchRunner.create(device).catch((error: unknown) => {
    device.destroy();
    open.delete(gpu);
    throw error;
  });
  let last: Promise<unknown> = Promise.resolve();

  function enqueue(key: HashKey, high: number, pieces: () => Iterable<Piece>): Promise<void> {
    const work = last.then(() => {
      if (ended !== undefined) throw new Error(ended);
      return runner.run(key, high, pieces());
    });
    last = work.catch(() => undefined);
    return work;
  }

  return {
    name: 'gpu',
    detail: describe(adapter.info),
    software: isSoftware(adapter.info),
    async hashBatch(key, high, values, out) {
      if (out.length !== 2 * values.length) throw new RangeError('a batch gives two words for each value');
      await enqueue(key, high, () => batchPieces(values, out));
    },
    async hashRange(key, first, out, high = 0) {
      if (first + out.length > 2 ** 32) throw new RangeError('a range ends below 2^32');
      await enqueue(key, high, () => rangePieces(first, out));
    },
    async close() {
      await last;
      if (ended !== undefined) return;
      ended = 'the engine is closed';
      runner.close();
      device.destroy();
      open.delete(gpu);
    },
  };
}

function* batchPieces(values: Uint32Array, out: Uint32Array): Iterable<Piece> {
  for (let at = 0; at < values.length; at += MAX_DISPATCH) {
    const part = values.subarray(at, at + MAX_DISPATCH);
    yield { first: 0, count: part.length, values: part, out: out.subarray(2 * at, 2 * (at + part.length)) };
  }
}

function* rangePieces(first: number, out: Uint32Array): Iterable<Piece> {
  for (let at = 0; at < out.length; at += MAX_DISPATCH) {
    const part = out.subarray(at, at + MAX_DISPATCH);
    yield { first: first + at, count: part.length, out: part };
  }
}

/** Checks the engine: a faulty driver may compute wrong hashes. */
async function isRight(engine: GpuEngine): Promise<boolean> {
  const key: HashKey = { suite: 'keccak256', revision: 0x0123_4567_89ab_cdefn, key: new Uint8Array(32).fill(0xa5) };
  const values = Uint32Array.from({ length: 65 }, (_, i) => Math.imul(i, 0x9e37_79b1));
  const out = new Uint32Array(2 * values.length);
  await engine.hashBatch(key, 7, values, out);
  const state = new Int32Array(50);
  return values.every((value, i) => {
    const { rounds } = loadBlock(state, key);
    state[0] = value;
    state[1] = 7;
    keccakP(state, rounds);
    return (state[0] ?? 0) >>> 0 === out[2 * i] && (state[1] ?? 0) >>> 0 === out[2 * i + 1];
  });
}

function isSoftware(info: AdapterInfo): boolean {
  return info.isFallbackAdapter === true || /swiftshader|llvmpipe|lavapipe|basic render/i.test(describe(info));
}

function describe({ vendor, architecture, description }: AdapterInfo): string {
  return [vendor, architecture, description].filter((part) => part !== '').join(', ');
}

function browserGpu(): Gpu | undefined {
  return (globalThis as { navigator?: { gpu?: Gpu } }).navigator?.gpu;
}

async function nodeGpu(software: boolean): Promise<Gpu | string> {
  if (typeof process !== 'object') return 'this browser has no WebGPU';
  const { openBinding } = await import('./binding.ts');
  return openBinding(software);
}
