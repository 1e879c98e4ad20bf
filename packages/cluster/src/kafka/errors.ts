import { MillraceError } from '@millrace/base';

interface Reported extends Error {
  readonly type?: unknown;
  readonly retriable?: unknown;
  readonly errors?: unknown;
}

/** Answers of a broker to a log-in, a request without permission, or a topic that it cannot make. */
const REFUSED =
  /AUTHENTICATION|AUTHORIZATION|SECURITY_DISABLED|ILLEGAL_SASL|INVALID_REPLICATION_FACTOR|POLICY_VIOLATION/;

/**
 * Coded errors for those of the client. E_CONFIG: the log-in, the certificate or a permission is refused. E_TIMEOUT: a
 * request may have had its effect. E_UNAVAILABLE: no broker answers. E_TOO_LARGE. E_STORE: anything else.
 */
export function kafkaError(error: unknown): MillraceError {
  if (error instanceof MillraceError) return error;
  const causes = causesOf(error);
  const innermost = causes.at(-1);
  const message = innermost?.message ?? String(error);
  const is = (test: (each: Reported) => boolean) => causes.some(test);
  const make = (code: 'E_CONFIG' | 'E_TIMEOUT' | 'E_UNAVAILABLE' | 'E_TOO_LARGE' | 'E_STORE') =>
    new MillraceError(code, `Kafka: ${message}`, { cause: error });
  if (is(({ name, type }) => name === 'KafkaJSSASLAuthenticationError' || REFUSED.test(String(type))))
    return make('E_CONFIG');
  if (is(({ message: text }) => /certificate|altnames|self.signed/i.test(text))) return make('E_CONFIG');
  if (is(({ type }) => type === 'MESSAGE_TOO_LARGE' || type === 'RECORD_LIST_TOO_LARGE')) return make('E_TOO_LARGE');
  if (is(({ name, type }) => name === 'KafkaJSRequestTimeoutError' || type === 'REQUEST_TIMED_OUT'))
    return make('E_TIMEOUT');
  if (is(({ name }) => name === 'KafkaJSConnectionClosedError')) return make('E_TIMEOUT');
  if (is(({ retriable }) => retriable === true)) return make('E_UNAVAILABLE');
  return make('E_STORE');
}

/** The error, what caused it, and the parts of an error that has several. */
function causesOf(error: unknown): Reported[] {
  if (!(error instanceof Error)) return [];
  const { cause, errors } = error as Reported;
  const parts = Array.isArray(errors) ? errors.flatMap(causesOf) : [];
  return [error as Reported, ...parts, ...(cause === error ? [] : causesOf(cause))];
}
