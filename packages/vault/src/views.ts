import { type Bytes, copyBytes, toHex, wipe } from '@millrace/base';
import { type DecoySet, decoysWanted } from './decoys.ts';
import type { Holding, VaultState } from './records.ts';

// Read-only views of the playbook.

/** One cell as needed for streaming. The user of the slice wipes both keys. */
export interface SliceCell {
  readonly segment: number;
  readonly index: Bytes;
  readonly outerKey: Bytes;
  readonly cek: Bytes;
  /** Label of a cell under a layer of points. */
  readonly label?: Bytes;
}

export interface DesignView {
  readonly design: string;
  readonly owner: Bytes;
  /** The owner's organisation; absent for a key alone. */
  readonly organisation?: string | undefined;
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
  /** The running sweep: its target epoch, its progress, 0 to 1, and the lanes to ask for messages. */
  readonly sweep: { readonly to: number; readonly progress: number; readonly lanes: readonly number[] } | undefined;
  readonly designs: number;
  readonly cells: number;
  readonly decoys: number;
  readonly decoysWanted: number;
}

export function viewOf({ id, owner, organisation, segments, stored }: Holding): DesignView {
  const of = { owner: copyBytes(owner), organisation };
  return { design: toHex(id), ...of, segments, stored, complete: stored >= segments };
}

export function statusOf(
  state: VaultState,
  holdings: readonly Holding[],
  decoys: readonly DecoySet[],
  running: { readonly progress: number; readonly lanes: readonly number[] },
): VaultStatus {
  const { epoch, sweep } = state;
  const storedOf = (some: readonly Holding[]) => some.reduce((total, { stored }) => total + stored, 0);
  return {
    epoch,
    sweep: sweep && { to: sweep.to, ...running },
    designs: holdings.filter(({ decoys, deleted }) => !decoys && !deleted).length,
    cells: storedOf(holdings),
    decoys: storedOf(holdings.filter(({ decoys }) => decoys)),
    decoysWanted: decoys.reduce((total, set) => total + decoysWanted(set, holdings, state), 0),
  };
}

/** Overwrites the keys of a slice. */
export function wipeSlice(cells: readonly SliceCell[]): void {
  for (const { outerKey, cek } of cells) wipe(outerKey, cek);
}
