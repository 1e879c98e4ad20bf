/** A number for each axis: X, Y, Z in mm, E in mm of filament. */
export type Axes = readonly [x: number, y: number, z: number, e: number];

/**
 * Capabilities of the modelled machine. The design may change speeds, accelerations and jerks while it runs (M201,
 * M203, M204, M205), as in firmware.
 */
export interface MotionLimits {
  /** mm/s. */
  readonly maxFeed: Axes;
  /** mm/s². */
  readonly maxAcceleration: Axes;
  /** mm/s² along the path: while extruding, on travel moves, and for filament-only moves. */
  readonly acceleration: { readonly print: number; readonly travel: number; readonly retract: number };
  /** Instant change of speed that an axis allows, mm/s. */
  readonly jerk: Axes;
  /** Speed before the first F word, mm/s. */
  readonly initialFeed: number;
  /** Fixed time to home one axis, s. */
  readonly homingSeconds: readonly [x: number, y: number, z: number];
  readonly hotend: HeaterLimits;
  readonly bed: HeaterLimits;
  /** Firmware retraction (G10, G11). */
  readonly retraction: { readonly length: number; readonly feed: number };
}

/** A heater of the model warms and cools linearly. */
export interface HeaterLimits {
  /** °C; higher targets are clipped to it, as in firmware. */
  readonly max: number;
  /** °C/s. */
  readonly warming: number;
  readonly cooling: number;
}

/**
 * A desktop machine with a moving bed, like an Original Prusa MK3. Speeds, accelerations and jerks are the defaults of
 * its firmware, which PrusaSlicer also writes for it. Homing and heating are round figures for such a machine.
 */
export const desktopLimits: MotionLimits = {
  maxFeed: [200, 200, 12, 120],
  maxAcceleration: [1000, 1000, 200, 5000],
  acceleration: { print: 1250, travel: 1250, retract: 1250 },
  jerk: [8, 8, 0.4, 4.5],
  initialFeed: 25,
  homingSeconds: [6, 6, 12],
  hotend: { max: 300, warming: 2.5, cooling: 0.8 },
  bed: { max: 120, warming: 0.6, cooling: 0.1 },
  retraction: { length: 0.8, feed: 35 },
};

export const ambient = 22;

/**
 * Extrusion at a height that differs from the layer's by more than this (mm) begins a new layer; less is a spiral's
 * climb within one.
 */
export const layerStep = 0.04;

/** Properties of the filament. */
export interface Filament {
  readonly diameterMm: number;
  readonly densityGramsPerCm3: number;
}

/** PLA of 1.75 mm. */
export const pla: Filament = { diameterMm: 1.75, densityGramsPerCm3: 1.24 };

export function filamentGrams(millimetres: number, filament: Filament): number {
  const area = (Math.PI * filament.diameterMm ** 2) / 4;
  return (millimetres * area * filament.densityGramsPerCm3) / 1000;
}
