// Parts of the package for tests of the whole system, and for nodes and agents that are hostile. Not an interface of the product.
export * from './address.ts';
export * from './code.ts';
export * from './code-auth.ts';
export * from './framing.ts';
export * from './handshake.ts';
export * from './handshake-channel.ts';
export * from './key-auth.ts';
