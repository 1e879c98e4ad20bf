import { fromBase64, MillraceError } from '@millrace/base';
import { signal } from '@preact/signals';
import type { Identity } from './identity-shape.ts';
import type { Job, JobAnswer, JobRequest } from './jobs.ts';
import workerAddress from './key-worker.js?worker&url';
import { usePasskey } from './passkey.ts';
import { session } from './session.ts';
import { startWorker } from './workers.ts';
import type { Unlock } from './wrap.ts';

/** When the person has last opened the key of this browser by a gesture, for a job that went well. 0: not yet. */
export const openedAt = signal(0);

/**
 * Runs a job in a worker of its own, which ends with it.
 * @throws {MillraceError} the code of the worker
 */
export function runJob(job: Job, unlock: Unlock): Promise<unknown> {
  const worker = startWorker(workerAddress);
  return new Promise<JobAnswer>((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data as JobAnswer);
    worker.onerror = (event) => reject(new MillraceError('E_INTERNAL', `the worker failed: ${event.message}`));
    const request: JobRequest = { origin: location.origin, unlock, job };
    worker.postMessage(request, unlock.kind === 'passphrase' ? [unlock.passphrase.buffer as ArrayBuffer] : []);
  })
    .finally(() => worker.terminate())
    .then((answer) => {
      if (answer.ok) {
        openedAt.value = Date.now();
        return answer.value;
      }
      if (answer.code === 'E_AUTH') session.check();
      throw new MillraceError(answer.code, answer.message);
    });
}

/** Opens this browser's key: asks for the passkey, or uses the passphrase that the person has typed. */
export async function unlockFor({ passkey, wrapped }: Identity, passphrase: string): Promise<Unlock> {
  if (passkey === undefined) return { kind: 'passphrase', passphrase: new TextEncoder().encode(passphrase) };
  return usePasskey(fromBase64(passkey), fromBase64(wrapped.salt));
}
