// Parts of the package for tests of the whole system, and for nodes and agents that are hostile. Not an interface of the product.
export * from './keys.ts';
