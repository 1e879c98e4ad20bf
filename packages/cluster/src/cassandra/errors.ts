import { MillraceError } from '@millrace/base';

/** Codes of Cassandra's answers (native protocol v5, section 9). */
const SERVER_ERROR = 0x0000;
const BAD_CREDENTIALS = 0x0100;
const UNAVAILABLE = 0x1000;
const OVERLOADED = 0x1001;
const BOOTSTRAPPING = 0x1002;
const WRITE_TIMEOUT = 0x1100;
const READ_TIMEOUT = 0x1200;
const READ_FAILURE = 0x1300;
const WRITE_FAILURE = 0x1500;
const CAS_WRITE_UNKNOWN = 0x1700;
const UNAUTHORIZED = 0x2100;
const INVALID = 0x2200;
const UNPREPARED = 0x2500;

/**
 * Coded errors for those of the driver. E_TIMEOUT: a write may have been applied or may be applied later. E_UNAVAILABLE:
 * it was not applied. E_CONFIG: the login or the certificate is refused. E_STORE: anything else.
 */
export function cassandraError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  const text = error instanceof Error ? error.message : String(error);
  const make = (code: 'E_TIMEOUT' | 'E_UNAVAILABLE' | 'E_CONFIG' | 'E_STORE', message = text): MillraceError =>
    new MillraceError(code, `Cassandra: ${message}`, { cause: error });
  const { name, code } = error instanceof Error ? (error as Error & { code?: unknown }) : {};
  switch (code) {
    case SERVER_ERROR: // an exception in the coordinator, perhaps after it had written
    case WRITE_TIMEOUT:
    case CAS_WRITE_UNKNOWN:
    case READ_TIMEOUT:
    // A server failed at its part, such as one that was away and has not yet the table of the newest epoch; the others
    // may have written.
    case READ_FAILURE:
    case WRITE_FAILURE:
      return make('E_TIMEOUT');
    case UNAVAILABLE:
    case OVERLOADED:
    case BOOTSTRAPPING:
    case UNPREPARED:
      return make('E_UNAVAILABLE');
    case BAD_CREDENTIALS:
    case UNAUTHORIZED:
      return make(isUnchecked(text) ? 'E_UNAVAILABLE' : 'E_CONFIG');
  }
  if (error instanceof Error && mayHaveWritten(error)) return make('E_TIMEOUT');
  if (name === 'AuthenticationError') return make(isUnchecked(text) ? 'E_UNAVAILABLE' : 'E_CONFIG');
  if (name === 'BusyConnectionError') return make('E_UNAVAILABLE');
  if (name === 'NoHostAvailableError') return noHost(error, make);
  return make('E_STORE');
}

/**
 * Whether a table of the statement may not exist (any more). The driver reports a statement that it could not prepare
 * again as not prepared, without the reason.
 */
export function isUnknownTable(error: unknown): boolean {
  const cause = error instanceof MillraceError ? error.cause : error;
  if (!(cause instanceof Error) || !('code' in cause)) return false;
  if (cause.code === UNPREPARED) return true;
  if (cause.code === INVALID) return /unconfigured table|table .* does not exist/i.test(cause.message);
  return cause.code === SERVER_ERROR && /Unknown CF/.test(cause.message); // dropped while the statement ran
}

/** Whether the server does not know the keyspace. */
export function isUnknownKeyspace(error: unknown): boolean {
  const cause = error instanceof MillraceError ? error.cause : error;
  if (!(cause instanceof Error) || !('code' in cause)) return false;
  return cause.code === INVALID && /keyspace .* does not exist/i.test(cause.message);
}

/** The driver tried every node: tells whether one of them refused the certificate or the login, or may have written. */
function noHost(
  error: unknown,
  make: (code: 'E_TIMEOUT' | 'E_UNAVAILABLE' | 'E_CONFIG' | 'E_STORE', message?: string) => MillraceError,
): MillraceError {
  const inner = Object.values((error as { innerErrors?: Record<string, unknown> }).innerErrors ?? {});
  const errors = inner.filter((each): each is Error & { code?: unknown } => each instanceof Error);
  // A node answered, such as that a prepared statement names a table that was dropped.
  const answers = errors.filter(({ name, code }) => name === 'ResponseError' && typeof code === 'number');
  if (answers.length > 0 && answers.length === errors.length) return cassandraError(answers[0]);
  const [first] = errors;
  const message = first === undefined ? 'no node answers' : `no node answers: ${first.message}`;
  const refused = errors.find(
    ({ name, code, message: text }) =>
      !isUnchecked(text) &&
      (name === 'AuthenticationError' ||
        /^(ERR_TLS|CERT_|SELF_SIGNED|UNABLE_TO_|DEPTH_ZERO)/.test(String(code)) ||
        /certificate|credentials/i.test(text)),
  );
  if (refused !== undefined) return make('E_CONFIG', refused.message);
  if (errors.some((each) => each instanceof TypeError)) return make('E_STORE', message); // a fault of the caller
  return make(errors.some(mayHaveWritten) ? 'E_TIMEOUT' : 'E_UNAVAILABLE', message);
}

/** Whether a server could not read who may log in or what a role may do, as one without a majority cannot. */
const isUnchecked = (message: string): boolean => /unable to perform auth/i.test(message);

/** Whether the answer is missing, or the connection broke, after the request was sent. */
const mayHaveWritten = ({ name, message }: Error): boolean =>
  name === 'OperationTimedOutError' || /socket was closed/i.test(message);
