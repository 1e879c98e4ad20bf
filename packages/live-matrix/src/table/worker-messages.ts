import { type ErrorCode, MillraceError } from '@millrace/base/core';
import type { TaskResult } from './tasks.ts';

/** Serialised error: its class is lost when it is copied to another thread. */
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
