import { parentPort, type TransferListItem } from 'node:worker_threads';

// Thread side of a `WorkerPool`. It loads no library, because each thread would load a separate copy.

export interface JobMessage<Input> {
  readonly id: number;
  readonly input: Input;
}

export interface JobFailure {
  /** Code of a MillraceError or of a system error. */
  readonly code: string | undefined;
  readonly message: string;
}

export type JobAnswer<Done> =
  | { readonly id: number; readonly done: Done }
  | { readonly id: number; readonly failed: JobFailure };

/** Serves the jobs of this thread. @param work returns the result, and the buffers to transfer */
export function serveJobs<Input, Done>(
  work: (input: Input) => { readonly done: Done; readonly transfer: readonly TransferListItem[] },
): void {
  const port = parentPort;
  port?.on('message', ({ id, input }: JobMessage<Input>) => {
    try {
      const { done, transfer } = work(input);
      port.postMessage({ id, done } satisfies JobAnswer<Done>, transfer);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
      const failed = { code, message: error instanceof Error ? error.message : String(error) };
      port.postMessage({ id, failed } satisfies JobAnswer<Done>);
    }
  });
}
