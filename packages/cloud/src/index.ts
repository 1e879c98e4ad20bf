export * from './config.ts';
export * from './control/restored.ts';
export * from './control/suspended.ts';
export * from './streaming/restored.ts';
