export { createGpuEngine, type GpuEngine, type GpuOptions } from './gpu-engine.ts';
export { fillTableOnGpu } from './gpu-table.ts';
