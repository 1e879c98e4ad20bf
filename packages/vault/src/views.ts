import { type Bytes, copyBytes, toHex, wipe } from '@millrace/base';
import type { Holding } from './records.ts';

// What the playbook shows of itself.

/** One cell as a stream needs it; whoever holds it wipes both keys. */
export interface SliceCell {
  readonly segment: number;
  readonly index: Bytes;
  readonly outerKey: Bytes;
  readonly cek: Bytes;
}

export interface DesignView {
  readonly design: string;
  readonly owner: Bytes;
  readonly segments: number;
  readonly stored: number;
  readonly complete: boolean;
}

export interface CellName {
  /** Undefined for a decoy. */
  readonly design: string | undefined;
  readonly segment: number;
}

export interface VaultStatus {
  readonly epoch: number;
  /** The epoch under way and how far it is, 0 to 1. */
  readonly sweep: { readonly to: number; readonly progress: number } | undefined;
  readonly designs: number;
  readonly cells: number;
  readonly decoys: number;
  readonly decoysWanted: number;
}

export function viewOf({ id, owner, segments, stored }: Holding): DesignView {
  return { design: toHex(id), owner: copyBytes(owner), segments, stored, complete: stored >= segments };
}

/** Overwrites the keys of a slice. */
export function wipeSlice(cells: readonly SliceCell[]): void {
  for (const { outerKey, cek } of cells) wipe(outerKey, cek);
}
