// Parts of the package for tests of the whole system, and for processes that are killed. Not an interface of the product.
export { type CellFileIndex, openCellFile } from './cell-file/cell-file.ts';
export * from './cell-file/record.ts';
export { openEnvironment } from './lmdb.ts';
