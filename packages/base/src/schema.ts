import { z } from 'zod';
import type { ErrorCode } from './codes.ts';
import { MillraceError } from './errors.ts';

/**
 * Parses external input once, at the edge of the process.
 * @throws {MillraceError} `code` (default E_INPUT), with the first wrong field
 */
export function parse<S extends z.ZodType>(
  schema: S,
  input: unknown,
  what: string,
  code: ErrorCode = 'E_INPUT',
): z.output<S> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path.length ? `.${issue.path.map(String).join('.')}` : '';
  throw new MillraceError(code, `${what}${path}: ${issue?.message ?? 'not valid'}`, {
    data: { field: issue?.path.map(String).join('.') ?? '' },
  });
}

/** Exactly `length` bytes. */
export function bytesOf(length: number) {
  return z.instanceof(Uint8Array).refine((bytes) => bytes.length === length, { error: `expected ${length} bytes` });
}

/** At most `max` bytes. */
export function bytesUpTo(max: number) {
  return z.instanceof(Uint8Array).refine((bytes) => bytes.length <= max, { error: `expected at most ${max} bytes` });
}

export function hexOf(length: number) {
  return z
    .string()
    .regex(new RegExp(`^[0-9a-f]{${length * 2}}$`), { error: `expected ${length * 2} lower-case hexadecimal digits` });
}
