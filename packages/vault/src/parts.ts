// Parts of the package for tests of the whole system, and for nodes and agents that are hostile. Not an interface of the product.
export * from './messages.ts';
export * from './points/embed.ts';
export * from './points/work.ts';
export * from './records.ts';
export * from './sizes.ts';
