import { randomBytes } from 'node:crypto';
import { type Cassandra, openCassandra } from '@millrace/cluster';
import { recordsCases } from '@millrace/stores/compliance';
import { type Engine, startEngine } from '@millrace/testkit/engines';
import { afterAll, beforeAll, describe, it } from 'vitest';

// One real Cassandra node with TLS and logins. Every case has a keyspace of its own.

let engine: Engine | string;
beforeAll(async () => {
  engine = await startEngine('cassandra');
  if (typeof engine === 'string') console.log(engine);
});
afterAll(async () => {
  if (typeof engine === 'object') await engine.close();
});

const keyspace = `t${randomBytes(6).toString('hex')}`;
const options = ({ host, port, user, password, ca }: Engine) => ({
  contactPoints: [`${host}:${port}`],
  localDataCenter: 'datacenter1',
  keyspace,
  copies: 1,
  login: { user, password },
  tls: { ca },
});

/** A test that needs the engine. */
function needs(name: string, test: (engine: Engine) => Promise<void>): void {
  it(name, async ({ skip }) => (typeof engine === 'string' ? skip(engine) : test(engine)));
}

let stores = 0;

describe('records in Cassandra', () => {
  for (const { name, run } of recordsCases)
    needs(name, (engine) =>
      run(async () => {
        const store = `s${stores++}`;
        let cassandra: Cassandra = await openCassandra(options(engine));
        return {
          records: cassandra.records(store),
          async reopen() {
            await cassandra.close();
            cassandra = await openCassandra(options(engine));
            return cassandra.records(store);
          },
          dispose: async () => cassandra.close(),
        };
      }),
    );
});
