export { type SafetyPolicy, safetyPolicySchema } from '@millrace/gcode';
export { machineFiles } from './agent/config.ts';
export * from './drivers/index.ts';
