import { expect, it } from 'vitest';
import { migrate } from '../src/cassandra/schema.ts';
import type { Session } from '../src/cassandra/session.ts';

/** A keyspace whose schema has this version. */
function keyspaceOf(version: number) {
  const ran: string[] = [];
  const session = {
    define: async (statement: string) => void ran.push(statement),
    run: async (statement: string) => {
      ran.push(statement);
      return statement.startsWith('SELECT version') ? [{ version }] : [];
    },
  };
  return { session: session as unknown as Session, ran };
}

it('refuses a keyspace that a newer program has changed, and changes nothing in it', async () => {
  const { session, ran } = keyspaceOf(1_000);
  await expect(migrate(session)).rejects.toMatchObject({
    code: 'E_CONFIG',
    message: expect.stringMatching(/has schema 1000; this program knows \d+$/),
  });
  expect(ran).toEqual([
    expect.stringMatching(/^CREATE TABLE IF NOT EXISTS schema_version/),
    expect.stringMatching(/^SELECT version/),
  ]);
});
