import { parentPort, type TransferListItem } from 'node:worker_threads';

// A thread's side of a `WorkerPool`. It loads no library: each thread would hold a copy of its own.

export interface JobMessage<Input> {
  readonly id: number;
  readonly input: Input;
}

export interface JobFailure {
  /** One of ours, or one of the operating system's. */
  readonly code: string | undefined;
  readonly message: string;
}

export type JobAnswer<Done> =
  | { readonly id: number; readonly done: Done }
  | { readonly id: number; readonly failed: JobFailure };

/** Answers the jobs of this thread. @param work gives the result, and the memory of it that is handed over */
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
