// Internal modules for whole-system tests and for hostile nodes and agents in tests. Not a public interface.
export * from './address.ts';
export * from './code.ts';
export * from './code-auth.ts';
export * from './framing.ts';
export * from './handshake.ts';
export * from './handshake-channel.ts';
export * from './key-auth.ts';
