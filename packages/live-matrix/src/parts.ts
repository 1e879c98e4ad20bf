// Parts of the package for tests of the whole system, and for nodes and agents that are hostile. Not an interface of the product.
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
