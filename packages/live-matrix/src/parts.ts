// Internal modules for whole-system tests and for hostile nodes and agents in tests. Not a public interface.
export * from './frame/keystream.ts';
export * from './frame/mac.ts';
export * from './frame/node-hmac.ts';
export * from './frame/resolve.ts';
export * from './parameters.ts';
export * from './ratchet.ts';
export * from './stream/cells.ts';
export * from './stream/keys.ts';
export * from './stream/notes.ts';
export * from './stream/opening.ts';
