/** Which layers are drawn of a long path. */
export interface PartsPlan {
  /** Every n-th layer. */
  readonly every: number;
  readonly layers: readonly number[];
  /** Number of their moves. */
  readonly moves: number;
}

/** Chooses layers that have about `maxMoves` together. @param moves of each layer */
export function planParts(moves: Uint32Array, maxMoves: number): PartsPlan {
  const all = moves.reduce((sum, count) => sum + count, 0);
  const every = Math.max(1, Math.ceil(all / maxMoves));
  const layers: number[] = [];
  let sum = 0;
  for (let layer = 0; layer < moves.length && sum < maxMoves; layer += every) {
    layers.push(layer);
    sum += moves[layer] as number;
  }
  return { every, layers, moves: sum };
}
