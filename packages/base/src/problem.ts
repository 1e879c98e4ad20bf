import type { ErrorCode } from './codes.ts';
import { errorCodes } from './codes.ts';
import { isErrorCode, MillraceError } from './errors.ts';

export const PROBLEM_TYPE = 'application/problem+json';

/** A coded error as problem details (RFC 9457). */
export interface Problem {
  readonly type: string;
  /** Meaning of the code, the same for every occurrence. */
  readonly title: string;
  readonly status: number;
  /** Description of this occurrence. */
  readonly detail: string;
  readonly code: ErrorCode;
  readonly data: Readonly<Record<string, unknown>>;
  readonly retryable: boolean;
  /** What the user can do about it. */
  readonly remedy: string;
}

export function problemOf({ code, message, data }: MillraceError): Problem {
  const { http: status, meaning: title, retryable, remedy } = errorCodes[code];
  return { type: `urn:millrace:error:${code}`, title, status, detail: message, code, data, retryable, remedy };
}

/** The error in a problem document; undefined if it has none of our codes. */
export function errorOfProblem(problem: unknown): MillraceError | undefined {
  if (typeof problem !== 'object' || problem === null) return undefined;
  const { code, detail, data } = problem as Partial<Record<keyof Problem, unknown>>;
  if (!isErrorCode(code)) return undefined;
  const known = typeof data === 'object' && data !== null ? (data as Record<string, unknown>) : {};
  return new MillraceError(code, String(detail), { data: known });
}
