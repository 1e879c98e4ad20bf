// Parts of the package for tests of the whole system, and for nodes and agents that are hostile. Not an interface of the product.
export * from './agent/agent.ts';
export * from './agent/cloud-link.ts';
export * from './agent/config.ts';
export * from './agent/control-calls.ts';
export * from './agent/frame-header.ts';
export * from './agent/object-files.ts';
export * from './agent/permit.ts';
export * from './agent/run-record.ts';
export * from './agent/timing.ts';
export * from './drivers/built-in.ts';
export * from './drivers/contract.ts';
