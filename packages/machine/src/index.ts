export { machineFiles } from './agent/config.ts';
export * from './drivers/index.ts';
