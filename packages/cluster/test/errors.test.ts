import { expect, it } from 'vitest';
import { cassandraError } from '../src/cassandra/errors.ts';

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
