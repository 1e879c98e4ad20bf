// Internal modules for whole-system tests and for hostile nodes and agents in tests. Not a public interface.
export * from './account-record.ts';
export * from './keys.ts';
export * from './map-page.ts';
export * from './map-store.ts';
export { bitOf } from './map-tree.ts';
