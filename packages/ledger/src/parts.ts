// Internal modules for whole-system tests and for hostile nodes and agents in tests. Not a public interface.
export * from './keys.ts';
