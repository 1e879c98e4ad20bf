import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fakeTime, running, settle, writeAll } from './driver-helpers.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'millrace sink '));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('the plain sink', () => {
  it('takes any bytes, writes them to its file and computes their hash', async () => {
    const content = new Uint8Array(randomBytes(1_000_003));
    const file = join(folder, 'out.bin');
    const driver = await running('sink', { factor: 'unlimited', file });
    for (let run = 0; run < 2; run += 1) {
      if (run > 0) await driver.begin();
      await writeAll(driver, content, 16_370);
      await driver.drain();
      expect((await readFile(file)).equals(content)).toBe(true);
      const summary = driver.summary();
      expect(Buffer.from(summary.sha256)).toEqual(createHash('sha256').update(content).digest());
      expect(summary).toMatchObject({ executedBytes: content.length, takenBytes: content.length });
    }
    expect(driver.toolPath()).toBeUndefined();
    await driver.close();
  });

  it('takes bytes at its speed', async () => {
    const time = fakeTime();
    const driver = await running('sink', { bytesPerSecond: 1000, factor: 20, bucketMs: 5 }, time);
    const begun = time.now;
    await writeAll(driver, new Uint8Array(200_000));
    await driver.drain();
    expect(Math.abs(time.now - begun - 10_000)).toBeLessThanOrEqual(5);
    expect(driver.telemetry()).toMatchObject({ machineSeconds: 200, executedBytes: 200_000, line: 0, state: 'idle' });
    await driver.close();
  });

  it('wipes its file when a run is cancelled and started again', async () => {
    const file = join(folder, 'out.bin');
    const driver = await running('sink', { factor: 'unlimited', file });
    await driver.write(new Uint8Array(5000).fill(1));
    await settle();
    await driver.cancel();
    await driver.begin();
    await driver.write(new Uint8Array(10).fill(2));
    await driver.drain();
    expect([...(await readFile(file))]).toEqual(Array(10).fill(2));
    await driver.close();
  });
});
