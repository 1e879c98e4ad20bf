/*
 * The part of WebGPU (W3C) used here, so that compiling needs neither a browser's library nor the optional binding.
 * Values of the flags: WebGPU specification, sections 5 (buffers) and 7 (map modes).
 */

export interface Gpu {
  requestAdapter(options?: {
    powerPreference?: 'high-performance';
    forceFallbackAdapter?: boolean;
  }): Promise<Adapter | null>;
}

export interface Adapter {
  readonly info: AdapterInfo;
  requestDevice(): Promise<Device>;
}

export interface AdapterInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  readonly isFallbackAdapter?: boolean;
}

export interface Device {
  readonly lost: Promise<{ readonly reason: string; readonly message: string }>;
  readonly queue: {
    writeBuffer(buffer: GpuBuffer, offset: number, data: Uint32Array<ArrayBuffer>): void;
    submit(commands: readonly object[]): void;
    onSubmittedWorkDone(): Promise<unknown>;
  };
  createBuffer(descriptor: { size: number; usage: number }): GpuBuffer;
  createShaderModule(descriptor: { code: string }): object;
  createComputePipelineAsync(descriptor: {
    layout: 'auto';
    compute: { module: object; entryPoint: string };
  }): Promise<Pipeline>;
  createBindGroup(descriptor: {
    layout: object;
    entries: readonly { binding: number; resource: { buffer: GpuBuffer } }[];
  }): object;
  createCommandEncoder(): Encoder;
  destroy(): void;
}

export interface GpuBuffer {
  mapAsync(mode: number, offset: number, size: number): Promise<unknown>;
  getMappedRange(offset: number, size: number): ArrayBuffer;
  unmap(): void;
  destroy(): void;
}

export interface Pipeline {
  getBindGroupLayout(index: number): object;
}

export interface Encoder {
  beginComputePass(): {
    setPipeline(pipeline: Pipeline): void;
    setBindGroup(index: number, group: object): void;
    dispatchWorkgroups(count: number): void;
    end(): void;
  };
  copyBufferToBuffer(from: GpuBuffer, fromOffset: number, to: GpuBuffer, toOffset: number, size: number): void;
  clearBuffer(buffer: GpuBuffer): void;
  finish(): object;
}

export const bufferUsage = { mapRead: 0x1, copySource: 0x4, copyTarget: 0x8, uniform: 0x40, storage: 0x80 } as const;
export const MAP_READ = 1;
