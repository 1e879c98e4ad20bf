export * from './config.ts';
export * from './control/restored.ts';
