// Browser-only code. Everything else comes from @millrace/client.
export { type BlobSource, blobSource } from './blob-source.ts';
export { type SealingScope, serveSealing } from './serve-sealing.ts';
export { createWorkerSealer, type SealingWorker } from './worker-sealer.ts';
