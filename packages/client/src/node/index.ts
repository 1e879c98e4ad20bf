// Code that needs files and mutual TLS: connections, storage in a folder, the owner's offline copies.
export { processIsAlive } from './alive.ts';
export { drawCertificateLabel, readPageScript } from './certificate-files.ts';
export { type ConnectOptions, connectNodes } from './connect.ts';
export { copiesFolder, keepCopy, openCopy } from './copy.ts';
export { prepareFile } from './file-source.ts';
export * from './files.ts';
export { createFolderStorage } from './folder-storage.ts';
export { drawMaterialLabel } from './material-label.ts';
export {
  admitPairing,
  type OpenPairing,
  openPairings,
  type PairedMachine,
  type PairingTerms,
  pairMachine,
} from './pairing.ts';
export { type ProviderSignInOptions, signInAtProvider } from './provider.ts';
