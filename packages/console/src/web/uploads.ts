import type { DesignView } from '@millrace/api';
import { MillraceError } from '@millrace/base';
import { signal } from '@preact/signals';
import type { Identity } from './identity-shape.ts';
import type { FromUploadWorker, Refused, ToUploadWorker, UploadSource } from './upload-messages.ts';
import workerAddress from './upload-worker.js?worker&url';
import { startWorker } from './workers.ts';
import type { Unlock } from './wrap.ts';

/** What the page shows of the upload under way. It goes on while the person looks at other pages. */
export interface UploadState {
  readonly name: string;
  readonly step: 'sealing' | 'sign' | 'uploading' | 'storing' | 'stored' | 'failed';
  /** Bytes while it is sealed, segments while it is uploaded. */
  readonly done: number;
  readonly total: number;
  readonly design?: DesignView | undefined;
  readonly failure?: Refused | undefined;
}

/** One at a time: each has the whole connection. */
export const upload = signal<UploadState | undefined>(undefined);
let worker: Worker | undefined;

export const isUnderWay = ({ step }: UploadState) => step !== 'stored' && step !== 'failed';

export function startUpload(identity: Identity, uploads: string, source: UploadSource): void {
  end();
  const name = 'file' in source ? source.terms.name : source.name;
  upload.value = { name, step: 'file' in source ? 'sealing' : 'uploading', done: 0, total: 0 };
  const started = startWorker(workerAddress);
  worker = started;
  const change = (next: Partial<UploadState>) => {
    if (worker === started && upload.value !== undefined)
      upload.value = { ...upload.value, failure: undefined, ...next };
  };
  started.onmessage = ({ data }) => {
    const message = data as FromUploadWorker;
    if (message.type === 'progress') change({ step: message.step, done: message.done, total: message.total });
    else if (message.type === 'sign') change({ step: 'sign', failure: message.failure });
    else if (message.type === 'storing') change({ step: 'storing' });
    else {
      const { type, ...result } = message;
      change({ step: type, ...result });
      started.terminate();
    }
  };
  started.onerror = ({ message }) => {
    const { code } = new MillraceError('E_INTERNAL', message);
    change({ step: 'failed', failure: { code, message: `the worker failed: ${message}` } });
    started.terminate();
  };
  send({ type: 'start', identity, uploads, source });
}

/** Gives the worker what opens the key, after a gesture. */
export function unlockUpload(unlock: Unlock): void {
  send({ type: 'unlock', unlock });
}

/** Ends the upload. What is sealed completely can be continued. */
export function cancelUpload(): void {
  end();
  upload.value = undefined;
}

function end(): void {
  worker?.terminate();
  worker = undefined;
}

function send(message: ToUploadWorker): void {
  const secret =
    message.type === 'unlock' && message.unlock.kind === 'passphrase' ? [message.unlock.passphrase.buffer] : [];
  worker?.postMessage(message, secret as ArrayBuffer[]);
}
