import { randomUUID } from 'node:crypto';
import { MillraceError, sleep } from '@millrace/base';
import type { Session } from './session.ts';

/** Changes of the schema, oldest first. Never change one that was released: append another. */
const MIGRATIONS: readonly (readonly string[])[] = [
  [
    // A record. `claims`: the ids of its newest changes, newest first. `value` is null after a deletion.
    `CREATE TABLE IF NOT EXISTS records (
       collection text, key blob, value blob, claims blob, version bigint, PRIMARY KEY ((collection, key)))`,
    // Positions of records in indexes; the index '' is the order of keys.
    `CREATE TABLE IF NOT EXISTS positions (
       collection text, idx text, grp blob, ord bigint, key blob, PRIMARY KEY ((collection, idx, grp), ord, key))`,
    // The indexes of a collection that are complete.
    'CREATE TABLE IF NOT EXISTS collections (collection text PRIMARY KEY, indexes text)',
  ],
  [
    // The partitions that a table has, so that it can be read in order.
    'CREATE TABLE IF NOT EXISTS parts (list text, part blob, PRIMARY KEY ((list), part))',
    // The newest epoch of a cell store that was dropped. Each epoch has a table of its own.
    'CREATE TABLE IF NOT EXISTS cell_epochs (cells text PRIMARY KEY, dropped bigint)',
    // A log: its newest token with a name of its holder, the number of its last batch, and the token that wrote it.
    `CREATE TABLE IF NOT EXISTS log_heads (
       log text PRIMARY KEY, newest bigint, holder text, seq bigint, writer bigint)`,
    `CREATE TABLE IF NOT EXISTS log_journal (
       log text, writer bigint, seq bigint, chunk int, writes blob, PRIMARY KEY ((log, writer, seq), chunk))`,
    'CREATE TABLE IF NOT EXISTS log_rows (log text, part blob, key blob, value blob, PRIMARY KEY ((log, part), key))',
  ],
];
const LOCK_SECONDS = 120;

/**
 * Brings the schema of the keyspace up to date. One process at a time does so.
 * @throws {MillraceError} E_CONFIG if a newer version of the program has changed the schema
 */
export async function migrate(session: Session): Promise<void> {
  await session.define('CREATE TABLE IF NOT EXISTS schema_version (id int PRIMARY KEY, version int, holder text)');
  if (await isCurrent(session)) return;
  const holder = randomUUID();
  const end = performance.now() + 2 * LOCK_SECONDS * 1_000;
  for (;;) {
    const lock = `UPDATE schema_version USING TTL ${LOCK_SECONDS} SET holder = ? WHERE id = 0 IF holder = null`;
    const [answer] = await session.run(lock, [holder]);
    if (answer?.['[applied]'] === true || answer?.holder === holder) break;
    if (performance.now() > end) throw new MillraceError('E_TIMEOUT', 'another process keeps the schema locked');
    await sleep(100 + Math.random() * 200);
    if (await isCurrent(session)) return;
  }
  try {
    for (let version = await versionOf(session); version < MIGRATIONS.length; version++) {
      for (const statement of MIGRATIONS[version] ?? []) await session.define(statement);
      await session.run('UPDATE schema_version SET version = ? WHERE id = 0 IF holder = ?', [version + 1, holder]);
    }
  } finally {
    await session.run('UPDATE schema_version SET holder = null WHERE id = 0 IF holder = ?', [holder]).catch(() => []);
  }
}

/** Drops every table that this program makes in the keyspace. After an interruption, the same call completes it. */
export async function dropTables(session: Session): Promise<void> {
  const made = new Set(
    MIGRATIONS.flat().flatMap((statement) => /^CREATE TABLE IF NOT EXISTS (\w+)/.exec(statement)?.[1] ?? []),
  );
  const tables = await session.run('SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?', [
    session.keyspace,
  ]);
  const names = tables.map((row) => String(row.table_name));
  for (const name of names.filter((name) => made.has(name) || /^cells_\w+_\d+$/.test(name)))
    await session.define(`DROP TABLE IF EXISTS ${name}`);
  // Last, so that a keyspace that is partly erased still has its version.
  await session.define('DROP TABLE IF EXISTS schema_version');
}

async function isCurrent(session: Session): Promise<boolean> {
  const version = await versionOf(session);
  if (version > MIGRATIONS.length)
    throw new MillraceError('E_CONFIG', `the keyspace has schema ${version}; this program knows ${MIGRATIONS.length}`);
  return version === MIGRATIONS.length;
}

async function versionOf(session: Session): Promise<number> {
  const [row] = await session.run('SELECT version FROM schema_version WHERE id = 0', [], { level: 'serial' });
  return Number(row?.version ?? 0);
}
