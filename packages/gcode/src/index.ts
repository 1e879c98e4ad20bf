export { arcTolerance } from './arcs.ts';
export { CommandLines } from './command-lines.ts';
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
export { type PathKind, pathKinds } from './path/features.ts';
export {
  type LayerIndex,
  LayerIndexer,
  type LayerPath,
  layerAt,
  type ReadBytes,
  readLayer,
} from './path/layer-index.ts';
export { MotionPlanner, type MoveListener, plannedMoves, trapezoidSeconds } from './planner.ts';
export { LineReader, maxLineBytes } from './reader.ts';
export { commonPolicy } from './safety/common-policy.ts';
export type { MachineFrame } from './safety/frame.ts';
export { SafetyGuard, type SafetyRule, safetyRules } from './safety/guard.ts';
export { PolicyLimits } from './safety/limits.ts';
export { type Dialect, type SafetyPolicy, safetyPolicySchema } from './safety/policy.ts';
export { type JobEnvelope, jobEnvelopeSchema } from './safety/reach.ts';
export { type Rehearsed, violatedRules } from './safety/violated-rules.ts';
export { SlicerNotes } from './slicer-notes.ts';
export { syntheticDesign } from './synthetic.ts';
