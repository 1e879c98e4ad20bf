import { type ErrorCode, errorCodes } from './codes.ts';

export interface ErrorOptions {
  /** Data for programs: identifiers, limits, offsets. Never secrets or design bytes. */
  readonly data?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** The error class of all modules: a documented code, the problem, and the remedy. */
export class MillraceError extends Error {
  override readonly name = 'MillraceError';
  readonly code: ErrorCode;
  readonly data: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.data = options.data ?? {};
  }

  get http(): number {
    return errorCodes[this.code].http;
  }

  get exit(): number {
    return errorCodes[this.code].exit;
  }

  get retryable(): boolean {
    return errorCodes[this.code].retryable;
  }

  /** What the user can do about it. */
  get remedy(): string {
    return errorCodes[this.code].remedy;
  }

  toJSON(): { code: ErrorCode; message: string; remedy: string; data: Readonly<Record<string, unknown>> } {
    return { code: this.code, message: this.message, remedy: this.remedy, data: this.data };
  }
}

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(errorCodes, code);
}

/** Converts any thrown value to a MillraceError. Foreign errors become E_INTERNAL with their cause. */
export function toMillraceError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  if (isDiskFull(error)) return new MillraceError('E_DISK_FULL', 'the disk is full', { cause: error });
  return new MillraceError('E_INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });
}

function isDiskFull(error: unknown): boolean {
  return error instanceof Error && (/ENOSPC/.test(error.message) || ('code' in error && error.code === 'ENOSPC'));
}
