export type TableArguments<Rest extends unknown[]> = [
  order: number,
  parts: number,
  entries: Uint32Array,
  ends: Uint16Array,
  ...Rest,
];
type BuildArguments<Rest extends unknown[]> = TableArguments<[runs: Uint32Array, cursors: Uint32Array, ...Rest]>;

type PartitionArguments = [
  kernel: number,
  block: Int32Array,
  rounds: number,
  ...build: BuildArguments<[span: Uint32Array]>,
];
type LookUpArguments = TableArguments<[codes: Uint32Array, skip: Uint8Array, starts: Uint32Array, found: Uint32Array]>;
type SolveArguments = [
  kernel: number,
  starts: Uint32Array,
  candidates: Uint32Array,
  symbolBits: number,
  blocks: Uint32Array,
  parity: Uint8Array,
  out: Uint32Array,
];

/**
 * Functions of native/addon.c. `kernel` is an index into `kernelNames`. Functions whose names end in Later do the same
 * on a libuv thread.
 */
export interface Addon {
  kernelNames(): readonly (readonly [name: string, detail: string])[];
  loadColumns(bytes: Uint8Array): void;
  hashBatch(
    kernel: number,
    block: Int32Array,
    rounds: number,
    high: number,
    values: Uint32Array,
    out: Uint32Array,
  ): void;
  hashRange(kernel: number, block: Int32Array, rounds: number, first: number, out: Uint32Array): void;
  partition(...all: PartitionArguments): boolean;
  partitionLater(...all: PartitionArguments): Promise<boolean>;
  index(...all: BuildArguments<[first: number, count: number]>): boolean;
  indexLater(...all: BuildArguments<[first: number, count: number]>): Promise<boolean>;
  wipe(...table: TableArguments<[]>): boolean;
  wipeLater(...table: TableArguments<[]>): Promise<boolean>;
  /** Wipes the table and returns its memory to the system where possible (Linux). */
  discard(...table: TableArguments<[]>): boolean;
  lookUp(...all: LookUpArguments): number;
  lookUpLater(...all: LookUpArguments): Promise<number>;
  parity(kernel: number, values: Uint32Array, symbolBits: number, blocks: Uint32Array, out: Uint8Array): void;
  solve(...all: SolveArguments): boolean;
  solveLater(...all: SolveArguments): Promise<boolean>;
  estimateClock(): number;
  /**
   * Locks the whole pages within `bytes` and excludes them from core dumps. Returns their range; undefined if refused.
   */
  lockPages(bytes: Uint8Array): readonly [first: number, length: number] | undefined;
  /** Disables core dumps, and access to this process's memory by other processes of the same user. */
  forbidLooking(): boolean;
}
