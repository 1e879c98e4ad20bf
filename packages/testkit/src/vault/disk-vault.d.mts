import type { CellFile, openLmdb } from '@millrace/stores';
import type * as api from '@millrace/vault';

export declare const SEGMENTS: number;
export declare const LOST: readonly number[];
export declare function contentOf(name: string): Buffer;

export interface DiskVault {
  readonly playbook: api.Playbook;
  readonly cells: api.CellStore;
  readonly file: CellFile;
  /** Cells that sweeps did not find. */
  readonly lost: readonly api.CellName[];
  prepare(name: string, maintenance: api.MaintenanceMode): Promise<void>;
  upload(name: string): Promise<{ designId: string }>;
  store(name: string): Promise<void>;
  sweepStep(): Promise<boolean>;
  read(name: string): Promise<Buffer>;
  check(): Promise<api.CheckReport | undefined>;
  countCells(): Promise<number>;
  close(): Promise<void>;
}

export declare function openDiskVault(options: {
  vault: typeof api;
  openLmdb: typeof openLmdb;
  folder: string;
}): Promise<DiskVault>;

export type Task =
  | 'store'
  | 'store in the middle of a sweep'
  | 'sweep'
  | 'delete'
  | 'repair'
  | 'repair in the middle of a sweep';
export declare const tasks: Readonly<Record<Task, (vault: DiskVault) => Promise<void>>>;
