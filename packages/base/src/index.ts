export * from './cbor.ts';
export * from './core.ts';
export * from './hkdf.ts';
export * from './logging.ts';
export * from './schema.ts';
