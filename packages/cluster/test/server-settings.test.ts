import { expect, it } from 'vitest';
import { checkServerSettings } from '../src/cassandra/server-settings.ts';
import { openCassandra } from '../src/index.ts';

const right = {
  auto_snapshot: 'false',
  incremental_backups: 'false',
  snapshot_before_compaction: 'false',
  commitlog_sync: 'group',
  write_request_timeout: '2000ms',
  read_request_timeout: '2s',
};
const check = (settings: Record<string, string>, servers = 3) =>
  checkServerSettings('10.0.0.1', new Map(Object.entries({ ...right, ...settings })), servers);

it('settings as the manual gives them are right', () => {
  expect(check({})).toEqual([]);
});

it.each(['auto_snapshot', 'incremental_backups', 'snapshot_before_compaction'])('%s is refused', (name) => {
  expect(() => check({ [name]: 'true' })).toThrow(`Cassandra at 10.0.0.1: ${name} is on`);
  expect(() => checkServerSettings('10.0.0.1', new Map([['commitlog_sync', 'batch']]), 1)).toThrow(
    'auto_snapshot is on',
  );
});

it('a periodic commit log is refused', () => {
  expect(() => check({ commitlog_sync: 'periodic' })).toThrow(expect.objectContaining({ code: 'E_CONFIG' }));
  expect(check({ commitlog_sync: 'batch' })).toEqual([]);
});

it('long time limits of a server that may be lost are reported', () => {
  expect(check({ read_request_timeout: '5000ms' })).toEqual([
    'Cassandra at 10.0.0.1: read_request_timeout is 5000ms: new epochs wait that long for a lost server. ' +
      'Set read_request_timeout: 2000ms in cassandra.yaml',
  ]);
  expect(check({ read_request_timeout: '5s', write_request_timeout: '1m' })).toHaveLength(2);
  // Without others, nothing can go on without it.
  expect(check({ read_request_timeout: '5s' }, 1)).toEqual([]);
});

it('servers on different ports are refused: the driver would reach those on one port only', async () => {
  const contactPoints = ['127.0.0.1:9042', '[::1]:9043'];
  await expect(openCassandra({ contactPoints, localDataCenter: 'dc', keyspace: 'k' })).rejects.toMatchObject({
    code: 'E_CONFIG',
    message: expect.stringContaining('listen on one port, not 9042, 9043'),
  });
});
