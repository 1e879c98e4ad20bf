import type { HashKey } from '../engines/engine.ts';
import { loadBlock, roundConstants } from '../engines/keccak.ts';
import {
  BLOCK_AT,
  CONSTANTS_AT,
  COUNT_AT,
  FIRST_AT,
  FIRST_ROUND_AT,
  PARAMETER_WORDS,
  shaderSource,
  WORKGROUP,
} from './shader.ts';
import { bufferUsage, type Device, type GpuBuffer, MAP_READ, type Pipeline } from './webgpu.ts';

/** Maximum hashes per dispatch: a few milliseconds on a card, so that no driver reports a hang. */
export const MAX_DISPATCH = 2 ** 18;

/** Input of one dispatch, and the destination of its words. */
export interface Piece {
  /** Lower half of the first g. Ignored if `values` is set. */
  readonly first: number;
  readonly count: number;
  readonly values?: Uint32Array;
  readonly out: Uint32Array;
}

/** Runs many pieces under one key, two at a time, so that the card computes while results are read. */
export class DispatchRunner {
  readonly #device: Device;
  readonly #range: Pipeline;
  readonly #batch: Pipeline;
  readonly #slots: readonly Slot[];

  private constructor(device: Device, range: Pipeline, batch: Pipeline) {
    this.#device = device;
    this.#range = range;
    this.#batch = batch;
    this.#slots = [makeSlot(device, range, batch), makeSlot(device, range, batch)];
  }

  static async create(device: Device): Promise<DispatchRunner> {
    const module = device.createShaderModule({ code: shaderSource() });
    const pipeline = (entryPoint: string) =>
      device.createComputePipelineAsync({ layout: 'auto', compute: { module, entryPoint } });
    return new DispatchRunner(device, await pipeline('hashRange'), await pipeline('hashBatch'));
  }

  /** One call at a time. Clears the card's buffers before it returns or throws. */
  async run(key: HashKey, high: number, pieces: Iterable<Piece>): Promise<void> {
    const block = new Int32Array(50);
    const parameters = new Uint32Array(PARAMETER_WORDS);
    const { rounds } = loadBlock(block, key);
    block[1] = high;
    parameters.set(block, BLOCK_AT);
    for (let round = 0; round < 24; round++) {
      parameters.set(roundConstants.subarray(2 * round, 2 * round + 2), CONSTANTS_AT + 4 * round);
    }
    parameters[FIRST_ROUND_AT] = 24 - rounds;
    const underWay: Promise<void>[] = [];
    try {
      let turn = 0;
      for (const piece of pieces) {
        const slot = this.#slots[turn++ % this.#slots.length];
        if (slot === undefined) break;
        if (underWay.length === this.#slots.length) await underWay.shift();
        const work = this.#dispatch(slot, parameters, piece);
        work.catch(() => undefined); // handled where it is awaited
        underWay.push(work);
      }
      await Promise.all(underWay);
    } finally {
      await Promise.allSettled(underWay);
      block.fill(0);
      parameters.fill(0);
      await this.#wipe();
    }
  }

  close(): void {
    for (const { buffers } of this.#slots) for (const buffer of buffers) buffer.destroy();
  }

  async #dispatch(
    slot: Slot,
    parameters: Uint32Array<ArrayBuffer>,
    { first, count, values, out }: Piece,
  ): Promise<void> {
    const { queue } = this.#device;
    parameters[FIRST_AT] = first;
    parameters[COUNT_AT] = count;
    queue.writeBuffer(slot.parameters, 0, parameters);
    // Copy: the caller's array may be in shared memory, which WebGPU does not accept.
    if (values !== undefined) queue.writeBuffer(slot.values, 0, new Uint32Array(values));
    const encoder = this.#device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(values === undefined ? this.#range : this.#batch);
    pass.setBindGroup(0, values === undefined ? slot.rangeGroup : slot.batchGroup);
    pass.dispatchWorkgroups(Math.ceil(count / WORKGROUP));
    pass.end();
    const bytes = 4 * out.length;
    encoder.copyBufferToBuffer(slot.results, 0, slot.read, 0, bytes);
    queue.submit([encoder.finish()]);
    await slot.read.mapAsync(MAP_READ, 0, bytes);
    out.set(new Uint32Array(slot.read.getMappedRange(0, bytes)));
    slot.read.unmap();
  }

  /** Removes key and codes from the card. Copies made by the driver are out of reach. */
  async #wipe(): Promise<void> {
    const encoder = this.#device.createCommandEncoder();
    for (const { buffers } of this.#slots) for (const buffer of buffers) encoder.clearBuffer(buffer);
    this.#device.queue.submit([encoder.finish()]);
    await this.#device.queue.onSubmittedWorkDone();
  }
}

/** The buffers of one dispatch. */
interface Slot {
  readonly parameters: GpuBuffer;
  readonly values: GpuBuffer;
  readonly results: GpuBuffer;
  readonly read: GpuBuffer;
  readonly buffers: readonly GpuBuffer[];
  readonly rangeGroup: object;
  readonly batchGroup: object;
}

function makeSlot(device: Device, range: Pipeline, batch: Pipeline): Slot {
  const { uniform, storage, copySource, copyTarget, mapRead } = bufferUsage;
  const parameters = device.createBuffer({ size: 4 * PARAMETER_WORDS, usage: uniform | copyTarget });
  const values = device.createBuffer({ size: 4 * MAX_DISPATCH, usage: storage | copyTarget });
  const results = device.createBuffer({ size: 8 * MAX_DISPATCH, usage: storage | copySource | copyTarget });
  const read = device.createBuffer({ size: 8 * MAX_DISPATCH, usage: mapRead | copyTarget });
  const group = (pipeline: Pipeline, bound: readonly (readonly [binding: number, buffer: GpuBuffer])[]) =>
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: bound.map(([binding, buffer]) => ({ binding, resource: { buffer } })),
    });
  return {
    parameters,
    values,
    results,
    read,
    buffers: [parameters, values, results, read],
    rangeGroup: group(range, [
      [0, parameters],
      [2, results],
    ]),
    batchGroup: group(batch, [
      [0, parameters],
      [1, values],
      [2, results],
    ]),
  };
}
