import { type ErrorCode, MillraceError } from '@millrace/base/core';
import type { TaskResult } from './tasks.ts';

/** An error as it crosses threads: a class does not survive the copy. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export type WorkerAnswer = { readonly result: TaskResult } | { readonly error: WireError };

export function toWire({ code, message, data }: MillraceError): WireError {
  return { code, message, data };
}

export function fromWire({ code, message, data }: WireError): MillraceError {
  return new MillraceError(code, message, { data });
}
