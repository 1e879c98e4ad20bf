import type { Measure } from './measure.ts';

/** A parallel projection: mm to pixels, and a depth that increases towards the viewer (in mm). */
export interface View {
  readonly scale: number;
  /** Unit vectors of the picture in space: to the right, upwards, towards the viewer. */
  readonly right: readonly [number, number, number];
  readonly up: readonly [number, number, number];
  readonly towards: readonly [number, number, number];
  /** Pixel of the origin. */
  readonly x: number;
  readonly y: number;
}

export interface Window {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/** A view that fits the measured box into the window. Angles in degrees: around the part, and above the plate. */
export function fitView(box: Measure, window: Window, around: number, above: number): View {
  const a = (around * Math.PI) / 180;
  const e = (above * Math.PI) / 180;
  const towards = [Math.cos(e) * Math.cos(a), Math.cos(e) * Math.sin(a), Math.sin(e)] as const;
  const right = [-Math.sin(a), Math.cos(a), 0] as const;
  const up = [-Math.sin(e) * Math.cos(a), -Math.sin(e) * Math.sin(a), Math.cos(e)] as const;
  let [left, bottom, most, top] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let corner = 0; corner < 8; corner += 1) {
    const p = [0, 1, 2].map((axis) => ((corner >> axis) & 1 ? box.max : box.min)[axis] as number);
    const x = dot(p, right);
    const y = dot(p, up);
    left = Math.min(left, x);
    most = Math.max(most, x);
    bottom = Math.min(bottom, y);
    top = Math.max(top, y);
  }
  const scale = Math.min(window.width / Math.max(most - left, 1), window.height / Math.max(top - bottom, 1));
  return {
    scale,
    right,
    up,
    towards,
    x: window.left + window.width / 2 - ((left + most) / 2) * scale,
    y: window.top + window.height / 2 + ((bottom + top) / 2) * scale,
  };
}

export function dot(a: readonly number[], b: readonly [number, number, number]): number {
  return (a[0] as number) * b[0] + (a[1] as number) * b[1] + (a[2] as number) * b[2];
}
