// Internal modules for whole-system tests and for hostile nodes and agents in tests. Not a public interface.
export * from './agent/agent.ts';
export * from './agent/cloud-link.ts';
export * from './agent/config.ts';
export * from './agent/control-calls.ts';
export * from './agent/frame-header.ts';
export * from './agent/object-files.ts';
export * from './agent/packages/check-package.ts';
export * from './agent/packages/package-source.ts';
export * from './agent/permit.ts';
export * from './agent/run-record.ts';
export * from './agent/timing.ts';
export * from './drivers/built-in.ts';
export * from './drivers/contract.ts';
