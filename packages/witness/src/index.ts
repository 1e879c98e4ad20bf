export { openWitnessFolder, type WitnessFolder, type WitnessFolderOptions, witnessFiles } from './folder.ts';
export { serveWitness, type WitnessServerOptions } from './server.ts';
export { createWitness, type Witness, type WitnessOptions } from './witness.ts';
