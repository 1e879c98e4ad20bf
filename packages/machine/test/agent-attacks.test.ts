import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Bytes, copyBytes, fromHex, MillraceError, systemRandom, toHex } from '@millrace/base';
import { generateP256Key, generateUserKey, keyName } from '@millrace/identity';
import { signPermit, signTransaction } from '@millrace/protocol';
import type { TestCloud } from '@millrace/testkit/machine/agent-cloud';
import type { CallHomeAnswer, CloudStream } from '@millrace/testkit/machine/agent-cloud-stream';
import { type StoredDesign, storeDesign } from '@millrace/testkit/machine/agent-design';
import { type Bench, type BenchOptions, startBench } from '@millrace/testkit/machine/agent-harness';
import { afterEach, describe, expect, test } from 'vitest';
import { expectStop, permitIdOf, permitOf } from './agent-lies.ts';

let bench: Bench | undefined;
afterEach(async () => {
  await bench?.close();
  bench = undefined;
});

const design = storeDesign(systemRandom(10 * 16_370));

const stopsWith = async (code: string, bad: number, options: Partial<BenchOptions>): Promise<TestCloud> => {
  bench = await startBench({ design, window: 5, ...options });
  await expectStop(bench, design, code, bad);
  return bench.cloud;
};

const cloudOf = () => {
  if (bench === undefined) throw new Error('no bench');
  return bench.cloud;
};
const HEADER = 38;

/** Changes one frame of the stream. */
const changing = (segment: number, change: (frame: Bytes) => Bytes) => ({
  frame: (frame: Bytes, number: number) => [number === segment ? change(frame) : frame],
});

describe('frames', () => {
  test('rejects a flipped bit in a hint', async () => {
    await stopsWith('E_FRAME_MAC', 4, {
      meddling: changing(4, (frame) => {
        frame[HEADER + 777] = (frame[HEADER + 777] ?? 0) ^ 1;
        return frame;
      }),
    });
  });

  test('rejects two swapped hints', async () => {
    await stopsWith('E_FRAME_MAC', 3, {
      meddling: changing(3, (frame) => {
        const [a, b] = [frame.slice(HEADER, HEADER + 2), frame.slice(HEADER + 100, HEADER + 102)];
        frame.set(b, HEADER);
        frame.set(a, HEADER + 100);
        return frame;
      }),
    });
  });

  test('rejects dropped hints', async () => {
    await stopsWith('E_FRAME_FORMAT', 6, { meddling: changing(6, (frame) => copyBytes(frame.subarray(0, -20))) });
  });

  test('rejects a frame of random bytes', async () => {
    await stopsWith('E_FRAME_FORMAT', 2, { meddling: changing(2, () => Uint8Array.of(1, 2, 3)) });
  });

  test('rejects a changed frame number', async () => {
    await stopsWith('E_FRAME_MAC', 5, {
      meddling: changing(5, (frame) => {
        new DataView(frame.buffer).setUint32(30, 6);
        return frame;
      }),
    });
  });

  test('rejects a repeated frame in its revision', async () => {
    // Not the last frame of the window: its repetition would also exceed the window.
    await stopsWith('E_FRAME_REPLAY', 4, {
      meddling: { frame: (frame, number) => (number === 3 ? [frame, frame] : [frame]) },
    });
  });

  test('rejects a segment sent again without a request', async () => {
    await stopsWith('E_FRAME_REPLAY', 7, {
      strict: true,
      framesPerRevision: 1,
      meddling: {
        frame: (frame, number, session) =>
          number === 6 ? [frame, session.sender.encode(3, design.cells[3] ?? new Uint8Array())] : [frame],
      },
    });
  });

  test('rejects keys sent a second time', async () => {
    let given = false;
    await stopsWith('E_FRAME_REPLAY', 5, {
      meddling: {
        key: (key, segment, session) => {
          if (segment === 4 && !given) {
            given = true;
            setImmediate(() => void session.giveAgain(4));
          }
          return [key];
        },
      },
    });
  });

  test('rejects a recorded frame two revisions later', async () => {
    let recorded: { frame: Bytes; revision: bigint } | undefined;
    await stopsWith('E_FRAME_REVISION', 6, {
      strict: true,
      framesPerRevision: 1,
      meddling: {
        frame: (frame, number, session) => {
          if (number === 3) recorded = { frame: copyBytes(frame), revision: session.sender.revision };
          return recorded !== undefined && session.sender.revision === recorded.revision + 3n
            ? [recorded.frame, frame]
            : [frame];
        },
      },
    });
    expect(recorded).toBeDefined();
  });

  test('rejects a frame of an unknown revision', async () => {
    await stopsWith('E_FRAME_REVISION', 3, {
      meddling: changing(3, (frame) => {
        new DataView(frame.buffer).setBigUint64(22, 1_000n);
        return frame;
      }),
    });
  });

  test('rejects a valid frame of a segment beyond the window', async () => {
    await stopsWith('E_FRAME_FORMAT', 5, {
      meddling: {
        frame: (frame, number, session: CloudStream) =>
          number === 1 ? [session.sender.encode(9, design.cells[9] ?? new Uint8Array())] : [frame],
      },
    });
  });
});

describe('keys and cells', () => {
  test('rejects a key altered in transit', async () => {
    await stopsWith('E_SEAL', 4, {
      meddling: {
        key: (key, segment) => {
          if (segment === 4) key[50] = (key[50] ?? 0) ^ 1;
          return [key];
        },
      },
    });
  });

  test('rejects a key sent as another segment’s', async () => {
    await stopsWith('E_SEAL', 4, {
      meddling: {
        key: (key, segment) => {
          if (segment === 4) key[3] = 3;
          return [key];
        },
      },
    });
  });

  test('rejects a cell altered in the vault, in a valid frame', async () => {
    const cells = design.cells.map((cell) => copyBytes(cell));
    const altered = cells[6];
    if (altered !== undefined) altered[100] = (altered[100] ?? 0) ^ 1;
    await stopsWith('E_SEGMENT', 6, { design: { ...design, cells } });
  });

  test('rejects two cells exchanged in the vault', async () => {
    const swap = <T>(list: readonly T[]) => list.map((one, i) => (i === 3 ? list[4] : i === 4 ? list[3] : one) as T);
    const swapped: StoredDesign = { ...design, cells: swap(design.cells), keys: swap(design.keys) };
    await stopsWith('E_SEGMENT', 3, { design: swapped });
  });

  test('rejects chaff among dense hints, which cannot mark it', async () => {
    await stopsWith('E_PERMIT', 0, { meddling: { parameters: (honest) => ({ ...honest, chaffPercent: 30 }) } });
  });

  test('rejects a segment passed off as the last one: the design cannot be truncated', async () => {
    await stopsWith('E_PERMIT', 0, {
      meddling: { parameters: (honest) => ({ ...honest, segments: 8, size: 8 * 16_370 }) },
    });
  });
});

test('an alarm ends the stream, cancels the machine and reports the code', async () => {
  const cloud = await stopsWith('E_ALARM', 5, {
    meddling: {
      frame: (frame, number, session) => {
        if (number === 5) session.end('E_ALARM', 'consumed faster than the machine can');
        return number >= 5 ? [] : [frame];
      },
    },
  });
  expect(cloud.requests.length).toBe(1);
});

test('an end with an unknown code stops the print', async () => {
  await stopsWith('E_INTERNAL', 5, {
    meddling: {
      frame: (frame, number, session) => {
        if (number === 2) session.end('NONSENSE');
        return number >= 2 ? [] : [frame];
      },
    },
  });
});

describe('permits', () => {
  /** Calls home with a wrong answer: the code is logged, no stream starts, nothing is executed. */
  async function refused(code: string, change: (answer: CallHomeAnswer, cloud: TestCloud) => unknown): Promise<void> {
    bench = await startBench({
      design,
      meddling: { callHome: async (answer) => (await change(answer, cloudOf())) as CallHomeAnswer },
    });
    const { cloud, log } = bench;
    await cloud.print();
    const ended = () => log.some((line) => line.includes('not begun'));
    while (!ended()) await new Promise((resolve) => setTimeout(resolve, 10));
    expect(log.find((line) => line.includes('not begun'))).toContain(`"code":"${code}"`);
    await bench.agent.close();
    expect(cloud.telemetry).toEqual([]);
    expect(cloud.reports).toEqual([]);
    expect(bench.executed().length).toBe(0);
  }

  test('rejects an altered permit', async () => {
    await refused('E_SIGNATURE', ({ permit, ...rest }) => {
      permit[permit.length - 1] = (permit.at(-1) ?? 0) ^ 1;
      return { ...rest, permit };
    });
  });

  test('rejects a permit signed by another key', async () => {
    await refused('E_AUTH', async (answer, cloud) => ({
      ...answer,
      permit: await permitOf(cloud, {}, generateP256Key()),
    }));
  });

  test('rejects a permit of another installation', async () => {
    await refused('E_SIGNATURE', async (answer, cloud) => {
      const [bytes, request] = [cloud.requestBytes.at(-1), cloud.requests.at(-1)];
      if (bytes === undefined || request === undefined) throw new Error('no request');
      const permit = await signPermit(cloud.permitKey, toHex(systemRandom(16)), cloud.permitFor(request, bytes));
      return { ...answer, permit };
    });
  });

  test('rejects a permit for another machine', async () => {
    const machine = keyName(generateP256Key().publicKey);
    await refused('E_PERMIT', async (answer, cloud) => ({ ...answer, permit: await permitOf(cloud, { machine }) }));
  });

  test('rejects a permit for another request: a permit cannot be used twice', async () => {
    await refused('E_PERMIT', async (answer, cloud) => ({
      ...answer,
      permit: await permitOf(cloud, { request: systemRandom(32) }),
    }));
  });

  test('rejects a permit for another print', async () => {
    const print = toHex(systemRandom(16));
    await refused('E_PERMIT', async (answer, cloud) => ({ ...answer, permit: await permitOf(cloud, { print }) }));
  });

  test.each(['../../escaped', '/tmp/escaped', `${'0'.repeat(32)}-0`, `${'0'.repeat(32)}-1/../x`])(
    'rejects a permit with an invalid object name: %s',
    async (object) => {
      await refused('E_PERMIT', async (answer, cloud) => ({ ...answer, permit: await permitOf(cloud, { object }) }));
      const { folder } = bench as Bench;
      const files = await readdir(join(folder, 'data'), { recursive: true });
      expect(files.filter((name) => /escaped|\.json$/.test(name) && name !== 'table.json')).toEqual([]);
      expect((await readdir(folder)).filter((name) => name.includes('escaped'))).toEqual([]);
    },
  );

  test('rejects a permit of an object that does not match its licence and number', async () => {
    await refused('E_PERMIT', async (answer, cloud) => ({
      ...answer,
      permit: await permitOf(cloud, { object: `${cloud.licenceId}-2` }),
    }));
  });

  test('rejects a permit expired beyond the clock tolerance', async () => {
    const then = Date.now() - 2 * 3_600_000;
    await refused('E_EXPIRED', async (answer, cloud) => ({
      ...answer,
      permit: await permitOf(cloud, { issued: then, expires: then + 120_000 }),
    }));
  });

  test('accepts a permit when clocks differ by an hour', async () => {
    const then = Date.now() - 3_600_000;
    bench = await startBench({
      design,
      meddling: {
        callHome: async (answer) => ({
          ...answer,
          permit: await permitOf(cloudOf(), { issued: then, expires: then + 120_000, id: permitIdOf(answer) }),
        }),
      },
    });
    const { cloud } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'completed'));
  });

  test('rejects a permit with another licence', async () => {
    await refused('E_PERMIT', async (answer, cloud) => ({ ...answer, licence: await cloud.signLicence() }));
  });

  test('rejects a permit of a design whose owner is not the registered one', async () => {
    const thief = generateUserKey();
    await refused('E_AUTH', async (answer, cloud) => ({
      ...answer,
      licenceSigner: await cloud.register(thief.publicKey, thief),
    }));
  });

  test('rejects licence, print and permit that another tenant and control signed for the owner’s design', async () => {
    const tenant = generateUserKey();
    await stopsWith('E_PERMIT', 0, {
      meddling: {
        callHome: async (answer) => {
          const cloud = cloudOf();
          const [id, dates] = [systemRandom(16), { issued: Date.now(), expires: Date.now() + 60_000 }];
          const [licence, machine] = [toHex(id), cloud.registration.machine];
          const print = { type: 'print.request' as const, id: fromHex(cloud.requests.at(-1)?.print ?? ''), ...dates };
          return {
            machine: answer.machine,
            core: answer.core,
            amendments: [],
            credits: [],
            licenceSigner: await cloud.register(tenant.publicKey),
            printSigner: await cloud.register(tenant.publicKey),
            licence: await cloud.signLicence({ id, holder: tenant.publicKey }, tenant),
            print: await signTransaction(tenant, cloud.directory.installation, { ...print, licence, machine }),
            permit: await permitOf(cloud, { id: permitIdOf(answer), licence, object: `${licence}-1` }),
          };
        },
      },
    });
  });

  test('rejects a print that the holder has not signed', async () => {
    await refused('E_AUTH', async (answer, cloud) => {
      const print = cloud.prints.keys().next().value ?? '';
      const dates = { id: fromHex(print), issued: Date.now(), expires: Date.now() + 60_000 };
      const body = { type: 'print.request' as const, ...dates, licence: cloud.licenceId };
      const signed = { ...body, machine: cloud.registration.machine };
      return { ...answer, print: await signTransaction(generateUserKey(), cloud.directory.installation, signed) };
    });
  });

  test('rejects an object beyond the licence', async () => {
    await refused('E_LICENCE_EXHAUSTED', async (answer, cloud) => {
      const object = `${cloud.licenceId}-6`;
      return { ...answer, permit: await permitOf(cloud, { number: 6, object }) };
    });
  });

  test('rejects an object that is a path', async () => {
    await refused('E_PERMIT', async (answer, cloud) => ({
      ...answer,
      permit: await permitOf(cloud, { object: '../../../outside' }),
    }));
  });

  test('rejects the registration of another machine', async () => {
    await refused('E_MACHINE_UNKNOWN', (answer) => ({ ...answer, machine: { ...answer.machine, serial: 'OTHER' } }));
  });

  test('ends when control refuses the permit', async () => {
    bench = await startBench({
      design,
      meddling: {
        refuse: (method) =>
          method === 'call-home'
            ? new MillraceError('E_LICENCE_EXHAUSTED', 'all objects have been permitted')
            : undefined,
      },
    });
    const { cloud, log } = bench;
    await cloud.print();
    while (!log.some((line) => line.includes('E_LICENCE_EXHAUSTED')))
      await new Promise((resolve) => setTimeout(resolve, 10));
    expect(bench.executed().length).toBe(0);
    expect(cloud.reports).toEqual([]);
  });

  test('rejects a stream of another design than the permit’s', async () => {
    bench = await startBench({
      design,
      meddling: { parameters: (honest) => ({ ...honest, design: 'e'.repeat(32) }) },
    });
    const { cloud } = bench;
    await cloud.print();
    await cloud.until(() => cloud.reports.some(({ event }) => event === 'failed'));
    expect(cloud.reports.map(({ event, facts }) => [event, facts.code])).toEqual([['failed', 'E_PERMIT']]);
    expect(bench.executed().length).toBe(0);
    expect(cloud.telemetry).toEqual([]);
  });
});
