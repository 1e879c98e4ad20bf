import driver from 'cassandra-driver';

/** A connection to real Cassandra nodes of a test, beside the product's own. The caller shuts it down. */
export const cassandraClient = (
  { user, password, ca }: { readonly user: string; readonly password: string; readonly ca: string },
  servers: readonly { readonly host: string; readonly port: number }[],
  keyspace?: string,
): driver.Client =>
  new driver.Client({
    contactPoints: servers.map(({ host, port }) => `${host}:${port}`),
    localDataCenter: 'datacenter1',
    ...(keyspace !== undefined && { keyspace }),
    authProvider: new driver.auth.PlainTextAuthProvider(user, password),
    sslOptions: { ca, rejectUnauthorized: true },
    socketOptions: { readTimeout: 60_000 },
  });
