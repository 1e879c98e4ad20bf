// Internal modules for whole-system tests and for hostile nodes and agents in tests. Not a public interface.
export * from './messages.ts';
export * from './points/embed.ts';
export * from './points/work.ts';
export * from './records.ts';
export * from './sizes.ts';
