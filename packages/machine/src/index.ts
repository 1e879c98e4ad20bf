export { machineFiles } from './agent/config.ts';
export * from './drivers/index.ts';
export * from './gcode/index.ts';
export * from './tool-path/index.ts';
