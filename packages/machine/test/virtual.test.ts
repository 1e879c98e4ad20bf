import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type MillraceError, utf8 } from '@millrace/base';
import { estimateDesign, syntheticDesign } from '@millrace/gcode';
import { describe, expect, it } from 'vitest';
import { builtInDrivers, type Telemetry } from '../src/drivers/index.ts';
import { fakeTime, running, serial, settle, writeAll } from './driver-helpers.ts';

const sample = new Uint8Array(readFileSync(new URL('../../../samples/impeller.gcode', import.meta.url)));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const unlimited = { factor: Number.POSITIVE_INFINITY };

describe('the virtual machine', () => {
  it('executes exactly the bytes of the design, in the times of the estimate', async () => {
    const seen: Buffer[] = [];
    const driver = await running('virtual', unlimited, { onExecuted: (bytes) => seen.push(Buffer.from(bytes)) });
    await writeAll(driver, sample);
    await driver.drain();
    const estimate = await estimateDesign([sample]);
    const summary = driver.summary();
    expect(Buffer.concat(seen).equals(sample)).toBe(true);
    expect(Buffer.from(summary.sha256).toString('hex')).toBe(sha256(sample));
    // Exactly, to the last bit.
    expect(summary.times).toEqual(estimate.times);
    expect(summary.machineSeconds).toBe(estimate.totalSeconds);
    expect(summary).toMatchObject({
      executedBytes: sample.length,
      takenBytes: sample.length,
      lines: estimate.lines,
      layers: estimate.layers,
      moves: estimate.moves,
      filamentMm: estimate.material.extrudedMm,
    });
    await driver.close();
  });

  it('records the path that its tool travelled, within the box of the design', async () => {
    const driver = await running('virtual', unlimited);
    await writeAll(driver, sample, 777);
    await driver.drain();
    const path = driver.toolPath();
    const { box, moves, layers } = await estimateDesign([sample]);
    if (path === undefined) throw new Error('no path');
    expect(path.length).toBe(moves);
    const min = [Infinity, Infinity, Infinity];
    const max = [-Infinity, -Infinity, -Infinity];
    let last = 0;
    path.each(({ x0, y0, z0, x, y, z, extruding, layer }) => {
      last = layer;
      if (!extruding) return;
      for (const place of [
        [x0, y0, z0],
        [x, y, z],
      ]) {
        for (const [axis, value] of place.entries()) {
          min[axis] = Math.min(min[axis] ?? 0, value);
          max[axis] = Math.max(max[axis] ?? 0, value);
        }
      }
    });
    for (let axis = 0; axis < 3; axis += 1) {
      expect(min[axis]).toBeCloseTo(box.min[axis] ?? Number.NaN, 4);
      expect(max[axis]).toBeCloseTo(box.max[axis] ?? Number.NaN, 4);
    }
    expect(last).toBe(layers);
    await driver.close();
  });

  it('takes the time of the model divided by its factor, and is never early by more than its bucket', async () => {
    const content = Buffer.concat([...syntheticDesign({ bytes: 60_000 })]);
    const { totalSeconds } = await estimateDesign([content]);
    for (const factor of [1, 100, 5000]) {
      const time = fakeTime();
      const driver = await running('virtual', { factor, bucketMs: 5, telemetryMs: 0 }, time);
      const begun = time.now;
      let early = 0;
      driver.onTelemetry(({ machineSeconds }) => {
        early = Math.max(early, (machineSeconds * 1000) / factor - (time.now - begun));
      });
      await writeAll(driver, content);
      await driver.drain();
      expect(Math.abs(time.now - begun - (totalSeconds * 1000) / factor)).toBeLessThanOrEqual(5);
      expect(early).toBeLessThanOrEqual(10);
      expect(early).toBeGreaterThan(0);
      await driver.close();
    }
  });

  it('does not make up for time without data', async () => {
    const time = fakeTime();
    const driver = await running('virtual', { factor: 10 }, time);
    await driver.write(utf8('G4 S100\n'));
    await settle();
    expect(driver.telemetry()).toMatchObject({ starved: false, state: 'running' });
    while (!driver.telemetry().starved) await settle();
    time.now += 1_000_000;
    const before = time.now;
    await driver.write(utf8('G4 S100\n'));
    await driver.drain();
    expect(time.now - before).toBeGreaterThanOrEqual(10_000 - 5);
    await driver.close();
  });

  it('reports a move only after the time of the move', async () => {
    const time = fakeTime();
    const driver = await running('virtual', { factor: 1 }, time);
    const content = utf8('M83\nM104 S72\nG1 X10 E1 F600\nM400\nM109 S72\nG1 Y20 F600\n');
    const heard: Telemetry[] = [];
    driver.onTelemetry((telemetry) => heard.push(telemetry));
    await driver.write(content);
    await driver.drain();
    const waiting = heard.filter((t) => t.state === 'running' && t.line >= 4 && t.line < 6);
    expect(waiting.length).toBeGreaterThan(20);
    for (const t of waiting) expect(t.position).toEqual({ x: 10, y: 0, z: 0 });
    const last = heard.at(-1);
    expect(last).toMatchObject({
      state: 'idle',
      position: { x: 10, y: 20, z: 0 },
      line: 6,
      layer: 1,
      odometer: 1,
      executedBytes: content.length,
      bufferedBytes: 0,
      temperatures: { hotend: { now: 72, target: 72 } },
    });
    await driver.close();
  });

  it('bounds its buffer: a write waits until there is space', async () => {
    const time = fakeTime();
    const driver = await running(
      'virtual',
      { factor: 1, bufferBytes: 1024 },
      { ...time, sleep: () => new Promise(() => {}) },
    );
    await driver.write(utf8('G4 S1000\n'));
    await settle();
    let accepted = false;
    const writing = driver.write(utf8('G4 S1\n'.repeat(300))).then(
      () => {
        accepted = true;
      },
      (error: MillraceError) => error.code,
    );
    await settle();
    expect(accepted).toBe(false);
    expect(driver.telemetry().bufferedBytes).toBe(1024);
    // The fake sleep never ends, so closing must not wait for it.
    void driver.close();
    expect(await writing).toBe('E_STATE');
  });

  it('pauses and resumes with the same result', async () => {
    const time = fakeTime();
    const driver = await running('virtual', { factor: 1 }, time);
    const begun = time.now;
    await driver.write(utf8('G4 S60\nG1 X10 F600\n'));
    while (time.now < begun + 5000) await settle();
    await driver.pause();
    await settle();
    const paused = time.now;
    time.now += 600_000;
    await settle();
    expect(driver.telemetry()).toMatchObject({ state: 'paused', position: { x: 0 } });
    await driver.resume();
    await driver.drain();
    const estimate = await estimateDesign([utf8('G4 S60\nG1 X10 F600\n')]);
    const worked = paused - begun + (time.now - paused - 600_000);
    expect(Math.abs(worked - estimate.totalSeconds * 1000)).toBeLessThan(510);
    expect(driver.telemetry().position.x).toBe(10);
    await driver.close();
  });

  it('cancels and starts again with a continuing odometer', async () => {
    const driver = await running('virtual', { ...unlimited, odometer: 100 });
    await driver.write(utf8('M83\nG1 X1 E5 F600\nM400\nG4 S9\n'));
    await driver.drain();
    await driver.begin();
    await driver.write(utf8('M83\nG1 X1 E2 F600\nM400\n'));
    while (!driver.telemetry().starved) await settle();
    await driver.cancel();
    expect(driver.telemetry()).toMatchObject({ state: 'idle', odometer: 107 });
    await driver.begin();
    expect(driver.summary()).toMatchObject({ executedBytes: 0, filamentMm: 0 });
    await driver.write(utf8('G1 X1 F600\n'));
    await driver.drain();
    expect(driver.summary().executedBytes).toBe(11);
    await driver.close();
  });

  it('cancels in the middle of a wait', async () => {
    const driver = await running('virtual', { factor: 1 });
    await driver.write(utf8('G4 S1000\nG1 X1\n'));
    const pending = driver.drain().catch((error: MillraceError) => error.code);
    await settle();
    await driver.cancel();
    expect(await pending).toBe('E_STATE');
    expect(driver.telemetry()).toMatchObject({ state: 'idle', position: { x: 0 }, bufferedBytes: 0 });
    await driver.close();
  });

  it('needs a new connection after an emergency stop', async () => {
    const driver = await running('virtual', { factor: 1 });
    await driver.write(utf8('M104 S200\nG4 S1000\n'));
    const pending = driver.drain().catch((error: MillraceError) => error.code);
    await settle();
    await driver.emergencyStop();
    expect(await pending).toBe('E_MACHINE');
    expect(driver.telemetry()).toMatchObject({ state: 'stopped', temperatures: { hotend: { target: 0 } } });
    await expect(driver.begin()).rejects.toMatchObject({ code: 'E_MACHINE' });
    await driver.connect({ serial });
    await driver.begin();
    await driver.write(utf8('G4 P1\n'));
    await driver.drain();
    await driver.close();
  });

  it('rejects another serial number, and calls out of order', async () => {
    const driver = await builtInDrivers().create('virtual', { serial });
    await expect(driver.identify()).rejects.toMatchObject({ code: 'E_STATE' });
    await expect(driver.connect({ serial: 'other' })).rejects.toMatchObject({ code: 'E_MACHINE_UNKNOWN' });
    expect(await driver.connect({ serial })).toMatchObject({ kind: 'virtual', serial });
    expect(await driver.identify()).toMatchObject({ kind: 'virtual', serial });
    for (const call of [
      driver.write(utf8('G28\n')),
      driver.drain(),
      driver.cancel(),
      driver.pause(),
      driver.resume(),
    ]) {
      await expect(call).rejects.toMatchObject({ code: 'E_STATE' });
    }
    await driver.begin();
    await expect(driver.begin()).rejects.toMatchObject({ code: 'E_STATE' });
    await driver.close();
    await expect(driver.connect({ serial })).rejects.toMatchObject({ code: 'E_STATE' });
  });

  it('fails with the line that cannot be executed', async () => {
    const driver = await running('virtual', unlimited);
    await driver.write(utf8('G28\nG90\nX20\nG1 X30\n'));
    await expect(driver.drain()).rejects.toMatchObject({ code: 'E_GCODE', data: { line: 3 } });
    expect(driver.telemetry()).toMatchObject({ state: 'failed', error: { code: 'E_GCODE' } });
    await expect(driver.write(utf8('G28\n'))).rejects.toMatchObject({ code: 'E_GCODE' });
    await driver.close();
  });

  it('has each configured fault once', async () => {
    for (const [faults, text] of [
      [{ unpluggedAtLine: 500 }, /unplugged/],
      [{ thermalAtLine: 500 }, /thermal/],
    ] as const) {
      const driver = await running('virtual', { ...unlimited, faults });
      const failure = await writeAll(driver, sample)
        .then(() => driver.drain())
        .catch((error: MillraceError) => error);
      expect(failure).toMatchObject({ code: 'E_MACHINE', message: expect.stringMatching(text), data: { line: 500 } });
      await expect(driver.identify()).rejects.toMatchObject({ code: 'E_MACHINE' });
      expect(driver.summary().executedBytes).toBeLessThan(sample.length);
      await driver.connect({ serial });
      await driver.begin();
      await writeAll(driver, sample);
      await driver.drain();
      expect(driver.summary().executedBytes).toBe(sample.length);
      await driver.close();
    }
  });

  it('releases a write or drain whose caller aborted', async () => {
    const driver = await running('virtual', { factor: 1, bufferBytes: 1024 });
    const abort = new AbortController();
    const writing = driver.write(utf8('G4 S1\n'.repeat(1000)), abort.signal).catch((error: Error) => error.message);
    await settle();
    abort.abort(new Error('given up'));
    expect(await writing).toBe('given up');
    await driver.close();
  });

  it('keeps moves up to its limit, and counts the others', async () => {
    const driver = await running('virtual', { ...unlimited, maxMoves: 100 });
    await writeAll(driver, utf8(Array.from({ length: 300 }, (_, n) => `G1 X${n + 1} F600`).join('\n')));
    await driver.drain();
    expect(driver.toolPath()).toMatchObject({ length: 100, dropped: 200 });
    await driver.close();
  });

  it('rejects unknown and invalid options', async () => {
    await expect(builtInDrivers().create('virtual', { serial, speed: 2 })).rejects.toMatchObject({ code: 'E_INPUT' });
    for (const factor of [0, -1, Number.NaN, '2']) {
      await expect(builtInDrivers().create('virtual', { serial, factor })).rejects.toMatchObject({ code: 'E_INPUT' });
    }
    await expect(builtInDrivers().create('lathe', { serial })).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    await (await builtInDrivers().create('virtual', { serial, factor: 'unlimited' })).close();
  });
});
