import type { ToolPath } from './path.ts';

/** Measurements of a path that drawing needs. */
export interface Measure {
  /**
   * Bounding box of everything deposited, without the first layer's skirts and priming lines if there are more layers.
   */
  readonly min: readonly [number, number, number];
  readonly max: readonly [number, number, number];
  readonly layers: number;
  /** Typical layer height, mm. */
  readonly layerHeight: number;
  /** Height of each layer by number, from 1; mm. */
  readonly heights: Float32Array;
}

const usualLayer = 0.2;

export function measure(path: ToolPath): Measure {
  let layers = 0;
  path.each((move) => {
    layers = Math.max(layers, move.layer);
  });
  const heights = new Float32Array(layers + 1);
  const from = layers > 2 ? 2 : 0;
  const min = [Infinity, Infinity, Infinity];
  const max = [-Infinity, -Infinity, -Infinity];
  let bottom = Infinity;
  const include = (...place: readonly [number, number, number]) => {
    for (let axis = 0; axis < 3; axis += 1) {
      const value = place[axis] as number;
      if (value < (min[axis] as number)) min[axis] = value;
      if (value > (max[axis] as number)) max[axis] = value;
    }
  };
  path.each(({ x0, y0, z0, x, y, z, extruding, layer }) => {
    if (!extruding) return;
    heights[layer] = z;
    if (z < bottom) bottom = z;
    if (layer < from) return;
    include(x0, y0, z0);
    include(x, y, z);
  });
  if (!Number.isFinite(min[0] as number)) {
    // Nothing was deposited: draw the travel moves.
    include(0, 0, 0);
    path.each(({ x, y, z }) => include(x, y, z));
    bottom = min[2] as number;
  }
  return {
    min: [min[0] as number, min[1] as number, Math.min(bottom, min[2] as number)],
    max: [max[0] as number, max[1] as number, max[2] as number],
    layers,
    layerHeight: medianStep(heights),
    heights,
  };
}

function medianStep(heights: Float32Array): number {
  const steps: number[] = [];
  for (let layer = 2; layer < heights.length; layer += 1) {
    const step = (heights[layer] as number) - (heights[layer - 1] as number);
    if (step > 0) steps.push(step);
  }
  steps.sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? usualLayer;
}
