import { MillraceError } from '@millrace/base';
import { describe, expect, it } from 'vitest';
import { decide, nextClaims } from '../src/cassandra/decision.ts';
import { cassandraError, isUnknownTable } from '../src/cassandra/errors.ts';
import { InFlight } from '../src/cassandra/in-flight.ts';
import type { Row } from '../src/cassandra/session.ts';

const timeout = () => new MillraceError('E_TIMEOUT', 'no answer');
const row = (values: Record<string, unknown>): Row[] => [values as unknown as Row];

/** A row of a cluster that decides like Cassandra: a change is applied if the claims are those that it saw. */
class FakeRow {
  claims: Uint8Array | undefined;

  apply(before: Uint8Array | undefined, after: Uint8Array): Row[] {
    const applied = Buffer.compare(before ?? Buffer.alloc(0), this.claims ?? Buffer.alloc(0)) === 0;
    if (applied) this.claims = after;
    return row({ '[applied]': applied, ...(applied ? {} : { claims: this.claims ?? null }) });
  }
}

function change(fake: FakeRow, answers: readonly ('lost' | 'late' | 'ok' | (() => void))[], patienceMs = 10_000) {
  const before = fake.claims;
  const after = nextClaims(before);
  const rest = [...answers];
  const outcome = decide({
    before,
    after,
    send: async () => {
      const next = rest.shift() ?? 'ok';
      if (next === 'late') throw timeout(); // not applied
      const answer = fake.apply(before, after);
      if (next === 'ok') return answer;
      if (next !== 'lost') next();
      throw timeout();
    },
    read: async () => fake.claims,
    patienceMs,
  });
  return { outcome, after };
}

const others = (fake: FakeRow, count: number) => {
  for (let i = 0; i < count; i++) fake.claims = nextClaims(fake.claims);
};

describe('a conditional write whose answer is lost', () => {
  it('is applied once, whether the first or a later attempt was applied', async () => {
    for (const answers of [['lost'], ['late'], ['late', 'lost', 'lost'], ['late', 'late', 'ok']] as const) {
      const fake = new FakeRow();
      others(fake, 2);
      const { outcome, after } = change(fake, answers);
      expect(await outcome).toBe('applied');
      expect(fake.claims).toEqual(after);
    }
  });

  it('is known to be applied after others have changed the row again', async () => {
    for (const later of [1, 7]) {
      const fake = new FakeRow();
      expect(await change(fake, [() => others(fake, later)]).outcome).toBe('applied');
    }
  });

  it('is refused if the history shows that another change came first', async () => {
    for (const earlier of [0, 3]) {
      const fake = new FakeRow();
      others(fake, earlier);
      const before = fake.claims;
      const outcome = decide({
        before,
        after: nextClaims(before),
        send: async () => {
          if (fake.claims === before) {
            others(fake, 3);
            throw timeout();
          }
          return row({ '[applied]': false, claims: fake.claims });
        },
        read: async () => fake.claims,
        patienceMs: 10_000,
      });
      expect(await outcome).toBe('refused');
    }
  });

  it('stays unknown if the history is too short, or if nobody answers', async () => {
    const fake = new FakeRow();
    others(fake, 1);
    expect(await change(fake, [() => others(fake, 8)]).outcome).toBe('unknown');
    const silent = decide({
      before: undefined,
      after: nextClaims(undefined),
      send: () => Promise.reject(timeout()),
      read: () => Promise.reject(timeout()),
      patienceMs: 0,
    });
    expect(await silent).toBe('unknown');
  });

  it('fails, and is not unknown, if no node took it', async () => {
    const never = (code: 'E_UNAVAILABLE' | 'E_CONFIG') =>
      decide({
        before: undefined,
        after: nextClaims(undefined),
        send: () => Promise.reject(new MillraceError(code, 'no')),
        read: async () => undefined,
        patienceMs: 0,
      });
    await expect(never('E_UNAVAILABLE')).rejects.toMatchObject({ code: 'E_UNAVAILABLE' });
    await expect(never('E_CONFIG')).rejects.toMatchObject({ code: 'E_CONFIG' });
  });
});

it('codes the errors of the driver by whether a write may have been applied', () => {
  const named = (name: string, more: object = {}) => Object.assign(new Error(name), { name, ...more });
  const noHost = (inner: Error) => named('NoHostAvailableError', { innerErrors: { a: inner } });
  for (const [error, code] of [
    [named('OperationTimedOutError'), 'E_TIMEOUT'],
    [named('DriverError', { message: 'Socket was closed' }), 'E_TIMEOUT'],
    [named('ResponseError', { code: 0x0000 }), 'E_TIMEOUT'],
    [named('ResponseError', { code: 0x1100 }), 'E_TIMEOUT'],
    [named('ResponseError', { code: 0x1700 }), 'E_TIMEOUT'],
    [named('ResponseError', { code: 0x1000 }), 'E_UNAVAILABLE'],
    [named('ResponseError', { code: 0x2200 }), 'E_STORE'],
    [noHost(named('Error', { code: 'ECONNREFUSED' })), 'E_UNAVAILABLE'],
    [noHost(named('OperationTimedOutError')), 'E_TIMEOUT'],
    [noHost(named('DriverError', { message: 'Socket was closed' })), 'E_TIMEOUT'],
    [noHost(named('Error', { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })), 'E_CONFIG'],
    [noHost(named('AuthenticationError')), 'E_CONFIG'],
    [noHost(new TypeError('not a blob')), 'E_STORE'],
    [noHost(named('ResponseError', { code: 0x2200 })), 'E_STORE'],
    [noHost(named('ResponseError', { code: 0x1001 })), 'E_UNAVAILABLE'],
  ] as const)
    expect(cassandraError(error).code).toBe(code);
  const dropped = named('ResponseError', { code: 0x2200, message: 'table cells_x_1 does not exist' });
  const unprepared = noHost(named('ResponseError', { code: 0x2500 }));
  const during = named('ResponseError', { code: 0, message: 'java.lang.IllegalArgumentException: Unknown CF 6' });
  for (const error of [dropped, noHost(dropped), unprepared, during])
    expect(isUnknownTable(cassandraError(error))).toBe(true);
});

it('bounds the requests in flight and keeps their order', async () => {
  const inFlight = new InFlight(3);
  let running = 0;
  let most = 0;
  const began: number[] = [];
  const task = (n: number) =>
    inFlight.run(async () => {
      began.push(n);
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      if (n % 5 === 0) throw new Error('fails');
    });
  await Promise.allSettled(Array.from({ length: 40 }, (_, n) => task(n)));
  expect(most).toBe(3);
  expect(began).toEqual(Array.from({ length: 40 }, (_, n) => n));
});
