import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { concatBytes, copyBytes, utf8 } from '@millrace/base';
import { nodeFiles } from '@millrace/cli/parts';
import { entryPrefix, under } from '@millrace/ledger/parts';
import { type Log, type LogWriter, openLmdb } from '@millrace/stores';
import { millrace } from '@millrace/testkit/cli';
import { enrol } from '@millrace/testkit/enrol';
import { createTestInstallation, folderOf, type TestInstallation } from '@millrace/testkit/test-installation';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

/** A control node with a ledger of some twenty entries. Its data folder is restored before every test. */
let system: TestInstallation;
let data: string;
let kept: string;

beforeAll(async () => {
  system = await createTestInstallation({ start: ['control'] });
  const job = await enrol(system, { objects: 4, machines: 2 });
  for (let i = 0; i < 4; i++) await job.callHome(await job.print(i % 2), i % 2);
  data = join(folderOf(system.installation, 'control'), nodeFiles.data);
  kept = join(system.scratch, 'kept');
  // The audit has control log a root of the map: the copy has it, too.
  expect((await verify()).exit).toBe(0);
  await system.processes.control.stop();
  await cp(data, kept, { recursive: true });
});
afterAll(() => system?.close());

beforeEach(async () => {
  await system.processes.control.stop();
  await rm(data, { recursive: true });
  await cp(kept, data, { recursive: true });
});

async function tamper(change: (log: Log, writer: LogWriter) => Promise<void>): Promise<void> {
  const environment = openLmdb({ path: data });
  const log = environment.log('ledger');
  await change(log, await log.acquire());
  await environment.close();
}

async function entries(log: Log): Promise<{ key: Uint8Array; value: Uint8Array }[]> {
  const found = [];
  for await (const { key, value } of log.range(under(entryPrefix))) found.push({ key, value });
  return found;
}

const verify = () => millrace(system.home, 'ledger', 'verify', '--json');

describe('ledger verify', () => {
  it('accepts an unmodified log', async () => {
    await system.processes.control.start();
    const result = await verify();
    expect(result).toMatchObject({ exit: 0, json: { ok: true } });
    expect(Number(result.json?.size)).toBeGreaterThan(8);
  });

  it('rejects a log with one changed entry', async () => {
    await tamper(async (log, writer) => {
      const found = await entries(log);
      const { key, value } = found[found.length >> 1] ?? {};
      if (key === undefined || value === undefined) throw new Error('the log has no entries');
      const changed = copyBytes(value);
      const at = changed.length >> 1;
      changed[at] = (changed[at] ?? 0) ^ 1;
      await writer.append([{ put: key, value: changed }]);
    });
    await system.processes.control.start();
    const result = await verify();
    expect(result.exit).toBe(6);
    expect(result.code).toMatch(/^E_LEDGER_(ENTRY|PROOF)$/);
  });

  it('rejects a log whose last entry is missing', async () => {
    await tamper(async (log, writer) => {
      const last = (await entries(log)).at(-1);
      if (last === undefined) throw new Error('the log has no entries');
      await writer.append([{ delete: last.key }]);
    });
    // Either the node refuses to serve such a log, or its reader detects it.
    const served = await system.processes.control.start().then(
      () => true,
      () => false,
    );
    if (served) {
      const result = await verify();
      expect(result.exit).toBe(6);
      expect(result.code).toBe('E_LEDGER_TRUNCATED');
    } else {
      expect(await system.log('control')).toContain('E_LEDGER_TRUNCATED');
    }
  });

  it('rejects a log that was restored to an earlier state', async () => {
    await system.processes.control.start();
    expect((await verify()).exit).toBe(0);
    const job = await enrol(system, { objects: 1, machines: 1 });
    await job.callHome(await job.print(0), 0);
    expect((await verify()).exit).toBe(0);
    await system.processes.control.stop();
    await rm(data, { recursive: true });
    await cp(kept, data, { recursive: true });
    await system.processes.control.start();
    const result = await verify();
    expect(result).toMatchObject({ exit: 6, code: 'E_LEDGER_TRUNCATED' });
    await rm(join(folderOf(system.installation, 'owner'), 'ledger.checkpoint'));
  });

  it('rejects a checkpoint that the log did not sign', async () => {
    await tamper(async (log, writer) => {
      const key = concatBytes(utf8('ledger/checkpoint'));
      const note = await log.get(key);
      if (note === undefined) throw new Error('the log has no checkpoint');
      const changed = copyBytes(note);
      const at = changed.length - 4;
      changed[at] = changed[at] === 65 ? 66 : 65;
      await writer.append([{ put: key, value: changed }]);
    });
    await expect(system.processes.control.start()).rejects.toThrow();
    expect(await system.log('control')).toContain('E_LEDGER_CHECKPOINT');
  });
});
