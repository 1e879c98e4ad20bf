export { arcTolerance } from './arcs.ts';
export {
  type Box,
  type DesignEstimate,
  DesignEstimator,
  defaultSegmentBytes,
  type EstimateOptions,
  estimateDesign,
  estimateSink,
  SegmentTimes,
} from './estimate.ts';
export { Execution, type ExecutionListener } from './execution.ts';
export {
  type Axes,
  ambient,
  desktopLimits,
  type Filament,
  filamentGrams,
  type HeaterLimits,
  type MotionLimits,
  pla,
} from './limits.ts';
export { MotionPlanner, type MoveListener, plannedMoves, trapezoidSeconds } from './planner.ts';
export { LineReader, maxLineBytes } from './reader.ts';
export { SlicerNotes } from './slicer-notes.ts';
export { syntheticDesign } from './synthetic.ts';
