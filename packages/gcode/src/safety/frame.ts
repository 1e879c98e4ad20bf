/** Where a mill stands when a run begins, as its controller reports it, mm. */
export interface MachineFrame {
  /** In machine coordinates. */
  readonly position: readonly [x: number, y: number, z: number];
  /** Zero of the coordinates in force, in machine coordinates: work offset, G92 and tool length. */
  readonly origin: readonly [x: number, y: number, z: number];
  /** Work offsets G54 to G59. */
  readonly systems: readonly (readonly [x: number, y: number, z: number])[];
  /** It was homed, or can be: otherwise its coordinates begin where it was switched on. */
  readonly homes: boolean;
}
