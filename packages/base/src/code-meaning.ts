/** External meaning of an error code: HTTP status, exit code of the CLI, whether a retry can help. */
export interface CodeMeaning {
  readonly http: number;
  /** 1 internal, 2 wrong input, 3 refused, 4 not found, 5 unavailable, 6 integrity, 7 alarm. */
  readonly exit: number;
  readonly retryable: boolean;
  readonly meaning: string;
  readonly remedy: string;
}

export function code(http: number, exit: number, retryable: boolean, meaning: string, remedy: string): CodeMeaning {
  return { http, exit, retryable, meaning, remedy };
}
