import { systemRandom } from '@millrace/base';
import { generateP256Key } from '@millrace/identity';
import { storeDesign, withOtherBytes } from '@millrace/testkit/machine/agent-design';
import { type Bench, type BenchOptions, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, describe, expect, test } from 'vitest';
import { expectStop, permitIdOf, permitOf } from './agent-lies.ts';

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

const design = storeDesign(systemRandom(10 * 16_370));

const stopsWith = async (code: string, bad: number, options: Partial<BenchOptions>): Promise<void> => {
  bench = await startBench({ design, window: 5, ...options });
  await expectStop(bench, design, code, bad);
};

const cloudOf = () => {
  if (bench === undefined) throw new Error('no bench');
  return bench.cloud;
};

describe('a cloud whose nodes are all dishonest', () => {
  const others = new Uint8Array(Buffer.alloc(10 * 16_370, 'G1 X1\n'));

  test('cannot insert bytes into a design in its custody, whose keys it has', async () => {
    const held = storeDesign(systemRandom(10 * 16_370), { custody: 'keys' });
    bench = await startBench({ design: withOtherBytes(held, others), window: 5 });
    const { cloud } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed' || event === 'completed'));
    expect(cloud.reports.at(-1)).toMatchObject({ event: 'failed', facts: { code: 'E_SEGMENT' } });
    expect(bench.executed()).toHaveLength(0);
  });

  test('control case: the unmodified design in custody is made', async () => {
    const held = storeDesign(systemRandom(10 * 16_370), { custody: 'keys' });
    bench = await startBench({ design: held, window: 5 });
    const { cloud } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed' || event === 'completed'));
    expect(cloud.reports.at(-1)).toMatchObject({ event: 'completed' });
    expect(bench.executed().equals(held.bytes)).toBe(true);
  });

  test('cannot have an object made twice by repeating permits', async () => {
    const first = { object: '' };
    bench = await startBench({
      design,
      meddling: {
        callHome: async (answer) => {
          const object = `${cloudOf().licenceId}-1`;
          if (first.object === '') {
            first.object = object;
            return answer;
          }
          return { ...answer, permit: await permitOf(cloudOf(), { id: permitIdOf(answer), object, number: 1 }) };
        },
      },
    });
    const { cloud, log } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
    const made = bench.executed().length;
    await cloud.print();
    const refusal = () => log.find((line) => line.includes('not begun'));
    while (refusal() === undefined) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(refusal()).toContain('"code":"E_REPLAY"');
    expect(new Set(cloud.reports.map(({ object }) => object))).toEqual(new Set([first.object]));
    expect(cloud.reports.filter(({ event }) => event === 'started')).toHaveLength(1);
    // The report of the refusal, in control's hands, is no evidence of a failed object.
    await cloud.until(() => cloud.reports.at(-1)?.event === 'failed');
    expect(cloud.reports.at(-1)?.facts).toMatchObject({ segments: 0, code: 'E_REPLAY', made: true });
    expect(bench.executed()).toHaveLength(made);
  });

  test('cannot show forged hashes', async () => {
    await stopsWith('E_SEGMENT', 0, {
      meddling: {
        hashes: ({ hashes, path }) => {
          hashes[5 * 32] = (hashes[5 * 32] ?? 0) ^ 1;
          return { hashes, path };
        },
      },
    });
  });

  test('cannot show the hashes of another design', async () => {
    const other = storeDesign(others);
    const group = await other.tree.group(0);
    await stopsWith('E_SEGMENT', 0, { meddling: { hashes: () => group } });
  });

  test('cannot offer another core than the licence names', async () => {
    const other = storeDesign(others);
    await stopsWith('E_PERMIT', 0, { meddling: { core: () => other.manifest.core } });
  });

  test('cannot offer a session without the keys node’s key', async () => {
    await stopsWith('E_SEAL', 0, { meddling: { sender: () => generateP256Key() } });
  });
});
