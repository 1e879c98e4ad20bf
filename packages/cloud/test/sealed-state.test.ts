import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { utf8 } from '@millrace/base';
import { type Log, MemoryLog, MemoryRecords, openLmdb, type RecordStore } from '@millrace/stores';
import { logCases, recordsCases } from '@millrace/stores/compliance';
import { createKeyWrapper } from '@millrace/vault';
import { describe, expect, it } from 'vitest';
import { openSealedState } from '../src/keys/sealed-state.ts';

const wrapper = createKeyWrapper(new Uint8Array(32).fill(7));

/** The sealed state in a new folder, reopened on request. */
async function inLmdb() {
  const path = await mkdtemp(join(tmpdir(), 'millrace-sealed-'));
  let environment = openLmdb({ path });
  const open = async () => {
    const sealed = await openSealedState(environment.records('data-key'), wrapper);
    return { records: sealed.records(environment.records('test')), log: sealed.log(environment.log('test'), 'test') };
  };
  return {
    state: await open(),
    async reopen() {
      await environment.close();
      environment = openLmdb({ path });
      return open();
    },
    async dispose() {
      await environment.close();
      await rm(path, { recursive: true });
    },
  };
}

describe('sealed records', () => {
  const open = async () => {
    const { state, reopen, dispose } = await inLmdb();
    return { records: state.records, reopen: async () => (await reopen()).records, dispose };
  };
  for (const { name, run } of recordsCases) it(name, () => run(open));
});

describe('a sealed log', () => {
  const open = async () => {
    const { state, reopen, dispose } = await inLmdb();
    return { log: state.log, reopen: async () => (await reopen()).log, dispose };
  };
  for (const { name, run } of logCases) it(name, () => run(open));
});

describe('whoever can write the cluster', () => {
  /** What the server holds, and the node's view of it. */
  async function served(): Promise<{ server: RecordStore; serverLog: Log; records: RecordStore; log: Log }> {
    const server = new MemoryRecords();
    const serverLog = new MemoryLog();
    const sealed = await openSealedState(server, wrapper);
    return { server, serverLog, records: sealed.records(server), log: sealed.log(serverLog, 'playbook') };
  }
  const text = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('latin1');

  it('reads no value', async () => {
    const { server, serverLog, records, log } = await served();
    await records.collection('object').put('o1', utf8('given 17'));
    await (await log.acquire()).append([{ put: utf8('k'), value: utf8('given 17') }]);
    expect(text(await server.collection('object').get('o1'))).not.toContain('given');
    expect(text(await serverLog.get(utf8('k')))).not.toContain('given');
  });

  it('cannot alter a value, or put one in the place of another', async () => {
    const { server, serverLog, records, log } = await served();
    const [objects, prints] = [records.collection('object'), records.collection('print')];
    await objects.put('o1', utf8('given 17'));
    await objects.put('o2', utf8('given 0'));
    await prints.put('o1', utf8('given 0'));
    const raw = server.collection('object');
    const former = (await raw.get('o1')) as Uint8Array;
    const forged = Uint8Array.from(former, (byte, i) => (i === former.length - 1 ? byte ^ 1 : byte));
    const forgeries = [forged, new Uint8Array(3), await raw.get('o2'), await server.collection('print').get('o1')];
    for (const value of forgeries) {
      await raw.put('o1', value as Uint8Array);
      await expect(objects.get('o1')).rejects.toMatchObject({ code: 'E_STORE' });
      await expect(objects.page({ limit: 10 })).rejects.toMatchObject({ code: 'E_STORE' });
      await expect(objects.compareAndSwap('o1', utf8('given 0'), utf8('given 1'))).rejects.toMatchObject({
        code: 'E_STORE',
      });
    }
    await raw.put('o1', former);
    expect(await objects.get('o1')).toEqual(utf8('given 17'));

    const [k, other] = [utf8('k'), utf8('other')];
    await (await log.acquire()).append([
      { put: k, value: utf8('state') },
      { put: other, value: utf8('older state') },
    ]);
    const moved = (await serverLog.get(other)) as Uint8Array;
    await (await serverLog.acquire()).append([{ put: k, value: moved }]);
    await expect(log.get(k)).rejects.toMatchObject({ code: 'E_STORE' });
  });

  it('cannot give the node a data key of his own', async () => {
    const { server, records } = await served();
    await records.collection('object').put('o1', utf8('given 17'));
    await server
      .collection('data-key')
      .put('key', await createKeyWrapper(new Uint8Array(32)).wrap(new Uint8Array(32), utf8('x')));
    await expect(openSealedState(server, wrapper)).rejects.toMatchObject({ code: 'E_SEAL' });
    await server.collection('data-key').delete('key');
    const reopened = (await openSealedState(server, wrapper)).records(server); // a new key opens nothing
    await expect(reopened.collection('object').get('o1')).rejects.toMatchObject({ code: 'E_STORE' });
  });
});

it('two replicas that start at the same time use one data key', async () => {
  const server = new MemoryRecords();
  const [one, two] = await Promise.all([openSealedState(server, wrapper), openSealedState(server, wrapper)]);
  await one.records(server).collection('object').put('o1', utf8('given 17'));
  expect(await two.records(server).collection('object').get('o1')).toEqual(utf8('given 17'));
});
