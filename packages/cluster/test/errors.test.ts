import { expect, it } from 'vitest';
import { cassandraError, isUnknownKeyspace } from '../src/cassandra/errors.ts';

const answer = (code: number) => Object.assign(new Error('answer'), { name: 'ResponseError', code });

it.each([
  ['a replica failed to read', 0x1300, 'E_TIMEOUT'],
  ['a replica failed to write', 0x1500, 'E_TIMEOUT'],
  ['a replica did not answer', 0x1200, 'E_TIMEOUT'],
  ['too few servers are up', 0x1000, 'E_UNAVAILABLE'],
  ['the login is refused', 0x0100, 'E_CONFIG'],
  ['the statement is wrong', 0x2000, 'E_STORE'],
] as const)('%s (%i): %s, which says whether a write may have been applied', (_, code, expected) => {
  expect(cassandraError(answer(code)).code).toBe(expected);
});

it.each([
  [0x2100, 'Unable to perform authorization of super-user permission: Operation timed out'],
  [0x0100, 'Unable to perform authentication: Cannot achieve consistency level QUORUM'],
] as const)('a server that cannot check a login (%i) has not refused it', (code, message) => {
  const error = Object.assign(new Error(message), { name: 'ResponseError', code });
  expect(cassandraError(error).code).toBe('E_UNAVAILABLE');
  const innerErrors = { a: Object.assign(new Error(message), { name: 'AuthenticationError' }) };
  const none = Object.assign(new Error('all hosts failed'), { name: 'NoHostAvailableError', innerErrors });
  expect(cassandraError(none).code).toBe('E_UNAVAILABLE');
});

it('a keyspace that a server does not know yet is told from other invalid statements', () => {
  const invalid = (message: string) => cassandraError(Object.assign(new Error(message), { code: 0x2200 }));
  expect(isUnknownKeyspace(invalid("Keyspace 'k' does not exist"))).toBe(true);
  expect(isUnknownKeyspace(invalid('unconfigured table t'))).toBe(false);
  expect(isUnknownKeyspace(cassandraError(new Error("Keyspace 'k' does not exist")))).toBe(false);
});
