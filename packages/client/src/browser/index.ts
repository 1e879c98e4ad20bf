// Browser-only code. Everything else comes from @millrace/client.
export { type BlobSource, blobSource } from './blob-source.ts';
export { createOriginStorage, type OriginFolder, type OriginStorage } from './origin-storage.ts';
export { type SealingScope, serveSealing } from './serve-sealing.ts';
export { type UploadTransportOptions, uploadTransports } from './upload-transports.ts';
export { createWorkerSealer, type SealingWorker } from './worker-sealer.ts';
