import { MillraceError } from '@millrace/base';
import kafkajs from 'kafkajs';
import type { EngineTls, Login } from '../cassandra/session.ts';

export interface KafkaOptions {
  /** Addresses of some brokers: `host:port`. */
  readonly brokers: readonly string[];
  /** 1 to 60 of a–z, 0–9 and -, first a letter. Topics and consumer groups begin with it. One for each installation. */
  readonly prefix: string;
  /** Copies of each topic when it is made: 1 to 7, default 3. */
  readonly copies?: number;
  /** SCRAM-SHA-512. */
  readonly login?: Login;
  /** Without it, the connection is neither secret nor authentic: for tests on one computer only. */
  readonly tls?: EngineTls;
  /** How long a call is repeated while no broker answers, ms. Default 20,000. */
  readonly patienceMs?: number;
  /** Time for the answer to one request, ms. Default 6,000. */
  readonly requestMs?: number;
}

const PREFIX = /^[a-z][a-z0-9-]{0,59}$/;
export const REQUEST_MS = 6_000;
/** Time for a connection with its TLS handshake, ms: a frozen broker takes connections, and the next one is tried. */
const CONNECT_MS = 3_000;

/** @throws {MillraceError} E_CONFIG */
export function kafkaClient(options: KafkaOptions): kafkajs.Kafka {
  const { brokers, prefix, login, tls, requestMs = REQUEST_MS } = options;
  if (!PREFIX.test(prefix)) throw new MillraceError('E_CONFIG', `${prefix} is not a prefix of Kafka topics`);
  return new kafkajs.Kafka({
    clientId: prefix,
    brokers: [...brokers],
    logLevel: kafkajs.logLevel.NOTHING, // errors are reported by the calls
    connectionTimeout: Math.min(requestMs, CONNECT_MS),
    authenticationTimeout: requestMs,
    requestTimeout: requestMs,
    // Repeated by this package: a repetition gets a new nonce.
    retry: { retries: 1, initialRetryTime: 100, maxRetryTime: 500 },
    ...(login && { sasl: { mechanism: 'scram-sha-512', username: login.user, password: login.password } }),
    ...(tls && {
      ssl: {
        ca: tls.ca,
        rejectUnauthorized: true,
        minVersion: 'TLSv1.2',
        ...(tls.certificate !== undefined && { cert: tls.certificate, key: tls.key }),
        ...(tls.serverName !== undefined && { servername: tls.serverName }),
      },
    }),
  });
}
