import { MillraceError } from '@millrace/base';

/** Settings that keep cells of expired epochs on disk. */
const KEEP = ['auto_snapshot', 'incremental_backups', 'snapshot_before_compaction'];
/** Time limits for which changes of the schema, and reads of new tables, wait while a server is lost. */
const LIMITS = ['write_request_timeout', 'read_request_timeout'];
const MOST_MS = 2_000;
const UNITS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000 };

/**
 * Checks a Cassandra server's settings, as in its table system_views.settings.
 * @param address of the server, for messages
 * @param servers of the cluster
 * @returns what should be changed
 * @throws {MillraceError} E_CONFIG if a setting breaks what the stores promise
 */
export function checkServerSettings(
  address: string,
  settings: ReadonlyMap<string, string>,
  servers: number,
): readonly string[] {
  const refused = (text: string) => new MillraceError('E_CONFIG', `Cassandra at ${address}: ${text} in cassandra.yaml`);
  for (const name of KEEP)
    if (settings.get(name) !== 'false')
      throw refused(`${name} is on: it keeps cells of expired epochs. Set ${name}: false`);
  if (!['batch', 'group'].includes(settings.get('commitlog_sync') ?? ''))
    throw refused('commitlog_sync is periodic: a power failure loses acknowledged writes. Set it to group');
  if (servers === 1) return [];
  return LIMITS.flatMap((name) => {
    const value = settings.get(name) ?? '';
    const [, number, unit = 'ms'] = /^(\d+)(ms|s|m)?$/.exec(value) ?? [];
    if (number === undefined || Number(number) * (UNITS[unit] ?? 1) <= MOST_MS) return [];
    return [
      `Cassandra at ${address}: ${name} is ${value}: new epochs wait that long for a lost server. ` +
        `Set ${name}: ${MOST_MS}ms in cassandra.yaml`,
    ];
  });
}
