import { type Bytes, MillraceError } from '@millrace/base';
import { generateP256Key, p256Key } from '@millrace/identity';
import { type BoxSecrets, boxNumberOf, encodeMail, openMessage, sealMail, signBoxKey } from '@millrace/protocol';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { killed, MailboxFixture, numbered, PERIODS, type TestNode } from './mailbox-fixture.ts';

/** Waits up to a minute: the computer may be busy. */
const eventually = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 60_000 });

const nodes: TestNode[] = [];
afterEach(async () => {
  for (const node of nodes.splice(0)) await node.close();
});

async function started(fixture: MailboxFixture, role: 'keys' | 'segments', got: number[] = []): Promise<TestNode> {
  const node = await fixture.node(role);
  nodes.push(node);
  await node.start(async (message) => {
    // Delivery is at least once.
    const number =
      message.type === 'stream.mix' ? message.revision : message.type === 'design.uploaded' && Number(message.design);
    if (typeof number === 'number' && !got.includes(number)) got.push(number);
  });
  return node;
}

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'no error',
    (error: unknown) => (error instanceof MillraceError ? error.code : String(error)),
  );

/** The slot contents as keys, as a thief of the disk would use them. */
function secretsIn(contents: readonly Bytes[]): BoxSecrets[] {
  return contents.map((content) => ({ keyOf: () => p256Key(content.subarray(16)) }));
}

/** The number of these recorded messages that open with any of these keys, whatever key number they name. */
async function opened(
  fixture: MailboxFixture,
  recorded: MailboxFixture['recorded'],
  secrets: readonly BoxSecrets[],
): Promise<number> {
  let count = 0;
  for (const { to, from, sealed } of recorded) {
    const tries = secrets.map((boxes) => openMessage(fixture.directory, { id: to, boxes }, from, sealed));
    if ((await Promise.allSettled(tries)).some(({ status }) => status === 'fulfilled')) count++;
  }
  return count;
}

describe('recorded mail', () => {
  it('opens with a node’s keys until it has erased them, and with no key afterwards', async () => {
    const fixture = new MailboxFixture();
    const got: number[] = [];
    const keys = await started(fixture, 'keys');
    const segments = await started(fixture, 'segments', got);
    await keys.mail.send({ node: 'segments-1' }, numbered(1));
    await fixture.mailbox.send({ node: 'segments-1' }, 'own', {
      type: 'design.uploaded',
      design: '2'.padStart(32, '0'),
    });
    await eventually(() => expect(got).toEqual([1, 2]));
    const everything = async () => [
      ...secretsIn((await fixture.copyOf('segments', 'mail')).contents),
      ...secretsIn((await fixture.copyOf('keys', 'mail')).contents),
      ...secretsIn((await fixture.copyOf('keys', 'attachments')).contents),
      ...Object.values(fixture.identities).map((identity): BoxSecrets => ({ keyOf: () => identity })),
    ];
    const recorded = [...fixture.recorded]; // more may arrive meanwhile
    expect(recorded.length).toBeGreaterThanOrEqual(2);
    expect(await opened(fixture, recorded, await everything())).toBe(recorded.length); // positive control of this test
    const number = boxNumberOf(recorded[0]?.sealed ?? new Uint8Array());

    fixture.clock.pass(PERIODS.mail.periodMs);
    await segments.boxes.mail.start();
    await keys.boxes.mail.start();
    await eventually(() => expect(segments.boxes.mail.keyOf(number)).toBeUndefined());
    for (const role of ['keys', 'segments'] as const)
      await eventually(async () => expect((await fixture.copyOf(role, 'mail')).contents.length).toBe(1));
    expect(await opened(fixture, recorded, await everything())).toBe(0);

    await keys.mail.send({ node: 'segments-1' }, numbered(3));
    await eventually(() => expect(got).toEqual([1, 2, 3]));
  });
});

describe('a superseded key', () => {
  it('is kept until the last message sealed to it has been handled', async () => {
    const fixture = new MailboxFixture();
    const keys = await started(fixture, 'keys');
    const segments = await fixture.node('segments');
    nodes.push(segments);
    let end: (() => void) | undefined;
    await segments.start(async (message, _from, goOn) => {
      if (message.type === 'stream.mix')
        goOn(
          new Promise((resolve) => {
            end = resolve;
          }),
        );
    });
    await keys.mail.send({ node: 'segments-1' }, numbered(1));
    await eventually(() => expect(end).toBeDefined());
    fixture.clock.pass(PERIODS.mail.periodMs);
    await segments.boxes.mail.start();
    await keys.mail.send({ node: 'segments-1' }, { type: 'stream.close', session: '22'.repeat(16) });
    await eventually(async () => expect(await fixture.queue.depth('segments-1')).toBe(1));
    expect((await fixture.copyOf('segments', 'mail')).contents.length).toBe(2);
    end?.();
    await eventually(async () => expect((await fixture.copyOf('segments', 'mail')).contents.length).toBe(1));
  });

  it('accepts no more mail: the sender gets the next key and seals again, and no message is lost', async () => {
    const fixture = new MailboxFixture();
    const got: number[] = [];
    const keys = await started(fixture, 'keys');
    const segments = await started(fixture, 'segments', got);
    const sends: Promise<void>[] = [];
    for (let number = 0; number < 60; number++) {
      sends.push(keys.mail.send({ node: 'segments-1' }, numbered(number)));
      if (number % 10 === 5) {
        fixture.clock.pass(PERIODS.mail.periodMs);
        await segments.boxes.mail.start();
      }
    }
    await Promise.all(sends);
    await eventually(() => expect(got.length).toBe(60));
    expect([...got].sort((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, number) => number));
    await eventually(async () => expect((await fixture.copyOf('segments', 'mail')).contents.length).toBe(1));
  });

  it('is not erased at control’s request while it is in use', async () => {
    const fixture = new MailboxFixture();
    const keys = await started(fixture, 'keys');
    await keys.boxes.mail.drained(Number.MAX_SAFE_INTEGER);
    expect((await fixture.copyOf('keys', 'mail')).contents.length).toBe(1);
    await keys.boxes.attachments.drained(Number.MAX_SAFE_INTEGER);
    fixture.clock.pass(PERIODS.attachments.periodMs);
    await keys.boxes.attachments.start();
    expect((await fixture.copyOf('keys', 'attachments')).contents.length).toBe(2); // owners may still use the first
  });

  it('is erased after the node has run for a day, whatever control withholds or refuses', async () => {
    const idle = new MailboxFixture(); // nobody reads its mail: no key is ever drained
    const silent = await idle.node('segments');
    nodes.push(silent);
    await silent.boxes.mail.start();
    idle.clock.pass(PERIODS.mail.periodMs);
    await silent.boxes.mail.start();
    expect((await idle.copyOf('segments', 'mail')).contents.length).toBe(2);
    idle.clock.pass(24 * 3_600_000);
    await silent.boxes.mail.start();
    await silent.boxes.mail.start();
    expect((await idle.copyOf('segments', 'mail')).contents.length).toBe(2); // the newest and its predecessor

    const { number } = (await idle.registry.newest('segments-1', 'mail')).box;
    vi.spyOn(idle.mailbox, 'announce').mockRejectedValue(new MillraceError('E_UNAVAILABLE', 'says control'));
    for (let hours = 0; hours < 26; hours++) {
      idle.clock.pass(3_600_000);
      await silent.boxes.mail.start().catch(() => undefined);
    }
    expect(silent.boxes.mail.keyOf(number)).toBeUndefined();
  });

  it('is not followed by a key number that control invented', async () => {
    const fixture = new MailboxFixture();
    const segments = await fixture.node('segments');
    nodes.push(segments);
    const number = Number.MAX_SAFE_INTEGER - 1;
    const kind = { type: 'box', node: 'segments-1', use: 'mail' } as const;
    const body = { ...kind, number, point: generateP256Key().publicKey, issued: 0, expires: 1 };
    const forged = await signBoxKey(fixture.identities.control, fixture.directory.installation, body);
    const data = { document: Buffer.from(forged).toString('base64') };
    vi.spyOn(fixture.mailbox, 'announce').mockRejectedValue(new MillraceError('E_BOX_KEY', 'says control', { data }));
    expect(await codeOf(segments.boxes.mail.start())).toBe('E_AUTH');
    const left = (await fixture.copyOf('segments', 'mail')).contents.map((content) => boxNumberOf(content));
    expect(left).toEqual([fixture.clock.now()]);
  });
});

describe('a node that is killed', () => {
  const steps = ['announcing attachments', 'announcing mail', 'erasing a key', 'writing a key'];

  /**
   * Sends, makes a new key, sends again. The node is killed at this durable step, when it comes there for the `nth` time,
   * and started again.
   * @returns whether it came there so often
   */
  async function run(step: string, nth: number): Promise<boolean> {
    const fixture = new MailboxFixture();
    const got = new Set<number>();
    let times = 0;
    let isKilled = false;
    const fault = (what: string) => {
      if (isKilled) throw killed(); // a killed process does nothing more
      if (what === step && times++ === nth) {
        isKilled = true;
        throw killed();
      }
    };
    const handle = async (message: { type: string; revision?: number }) => {
      if (message.type === 'stream.mix') got.add(message.revision ?? -1);
    };
    const keys = await started(fixture, 'keys');
    let segments = await fixture.node('segments', fault);
    nodes.push(segments);
    const again = async () => {
      await segments.close();
      segments = await fixture.node('segments');
      nodes.push(segments);
      await segments.start(handle);
    };
    await segments.start(handle).catch(again);
    const first = keys.mail.send({ node: 'segments-1' }, numbered(1));
    fixture.clock.pass(PERIODS.mail.periodMs);
    await segments.boxes.mail.start().catch(again);
    await Promise.all([first, keys.mail.send({ node: 'segments-1' }, numbered(2))]);
    await eventually(() => expect([...got].sort()).toEqual([1, 2]));
    // Erasing runs concurrently and may be the step that is killed.
    if (nth === 0) await eventually(() => expect(isKilled).toBe(true));
    else
      await eventually(async () => {
        if (!isKilled) expect((await fixture.copyOf('segments', 'mail')).contents.length).toBe(1);
      });
    if (isKilled) await again();
    await keys.mail.send({ node: 'segments-1' }, numbered(3));
    await eventually(async () => {
      expect([...got].sort()).toEqual([1, 2, 3]);
      expect((await fixture.copyOf('segments', 'mail')).contents.length).toBe(1);
    });
    return isKilled;
  }

  it.each(steps.flatMap((step) => [`before ${step}`, `after ${step}`]))(
    'loses no mail and erases its older keys: %s',
    async (step) => {
      for (let nth = 0; await run(step, nth); nth++);
    },
  );

  it('opens mail that waits for it with the key of its earlier process', async () => {
    const fixture = new MailboxFixture();
    const got: number[] = [];
    const keys = await started(fixture, 'keys');
    const segments = await started(fixture, 'segments');
    await segments.close();
    nodes.splice(nodes.indexOf(segments), 1);
    await keys.mail.send({ node: 'segments-1' }, numbered(1));
    fixture.clock.pass(10 * PERIODS.mail.periodMs);
    await started(fixture, 'segments', got);
    await eventually(() => expect(got).toEqual([1]));
  });
});

describe('a node that was restored to an older state', () => {
  it('makes newer keys; mail sealed to the lost ones is rejected, and nothing stays queued for it', async () => {
    const fixture = new MailboxFixture();
    const got: number[] = [];
    const keys = await started(fixture, 'keys');
    let segments = await started(fixture, 'segments');
    const before = await fixture.copyOf('segments', 'mail');
    fixture.clock.pass(PERIODS.mail.periodMs);
    await segments.boxes.mail.start();
    await segments.close();
    nodes.splice(nodes.indexOf(segments), 1);
    await keys.mail.send({ node: 'segments-1' }, numbered(1));
    await before.restore();
    segments = await started(fixture, 'segments', got);
    await eventually(async () => expect(await fixture.queue.depth('segments-1')).toBe(0));
    await keys.mail.send({ node: 'segments-1' }, numbered(2));
    await eventually(() => expect(got).toEqual([2]));
  });

  it('learns from control that it had newer keys for attachments', async () => {
    const fixture = new MailboxFixture();
    let keys = await started(fixture, 'keys');
    const before = await fixture.copyOf('keys', 'attachments');
    fixture.clock.pass(PERIODS.attachments.periodMs);
    await keys.boxes.attachments.start();
    const { box: newer } = await fixture.registry.newest('keys-1', 'attachments');
    await keys.close();
    nodes.splice(nodes.indexOf(keys), 1);
    await before.restore();
    fixture.clock.pass(-PERIODS.attachments.periodMs); // its clock is set back too
    keys = await started(fixture, 'keys');
    const { box: newest } = await fixture.registry.newest('keys-1', 'attachments');
    expect(newest.number).toBeGreaterThan(newer.number);
    expect(keys.boxes.attachments.keyOf(newest.number)?.publicKey).toEqual(newest.point);
  });
});

describe('an attachment sealed by an owner', () => {
  it('is accepted until its key is given up, one retention period after the next key', async () => {
    const fixture = new MailboxFixture();
    const keys = await started(fixture, 'keys');
    const { number } = (await fixture.registry.newest('keys-1', 'attachments')).box;
    const taken = () => codeOf(fixture.registry.requireHeld('keys-1', 'attachments', number));
    fixture.clock.pass(PERIODS.attachments.periodMs);
    await keys.boxes.attachments.start();
    fixture.clock.pass(PERIODS.attachments.retentionMs - 1);
    await keys.boxes.attachments.start();
    expect(await taken()).toBe('no error');
    expect(keys.boxes.attachments.keyOf(number)).toBeDefined();
    fixture.clock.pass(1);
    await keys.boxes.attachments.start();
    expect(await taken()).toBe('E_BOX_KEY');
    await eventually(() => expect(keys.boxes.attachments.keyOf(number)).toBeUndefined());
  });
});

describe('control', () => {
  it('cannot hand out its own key or an older one, not even to a restarted sender', async () => {
    const fixture = new MailboxFixture();
    const got: number[] = [];
    let keys = await started(fixture, 'keys');
    const segments = await started(fixture, 'segments', got);
    const old = await fixture.registry.newest('segments-1', 'mail');
    fixture.clock.pass(PERIODS.mail.periodMs);
    await segments.boxes.mail.start();
    await keys.mail.send({ node: 'segments-1' }, numbered(1));
    const { box } = await fixture.registry.newest('segments-1', 'mail');
    await keys.close();
    nodes.splice(nodes.indexOf(keys), 1);

    const handOut = vi.spyOn(fixture.registry, 'newest');
    handOut.mockImplementation(async () => old);
    keys = await started(fixture, 'keys');
    await keys.mail.send({ node: 'segments-1' }, numbered(2));
    expect(fixture.recorded.filter(({ from }) => from === 'keys-1').map(({ sealed }) => boxNumberOf(sealed))).toEqual([
      box.number,
      box.number,
    ]);
    handOut.mockRestore();

    const own = generateP256Key();
    const times = { issued: box.issued, expires: box.expires };
    const kind = { type: 'box', node: 'segments-1', use: 'mail' } as const;
    const body = { ...kind, number: box.number + 1, point: own.publicKey, ...times };
    const forged = await signBoxKey(fixture.identities.control, fixture.directory.installation, body);
    expect(await codeOf(fixture.registry.take('segments-1', 'mail', forged, 0))).toBe('E_AUTH');
  });

  it('rejects mail for a key that was given up, an older announcement, and a floor that falls', async () => {
    const fixture = new MailboxFixture();
    await started(fixture, 'segments');
    const { box, document, floor } = await fixture.registry.newest('segments-1', 'mail');
    expect(floor).toBe(box.number);
    const plain = encodeMail(numbered(1));
    const sender = { id: 'keys-1', identity: fixture.identities.keys };
    const old = await sealMail(fixture.directory, sender, { ...box, number: box.number - 1 }, plain);
    expect(await codeOf(fixture.mailbox.put('segments-1', 'keys-1', 'x', old))).toBe('E_BOX_KEY');
    expect(await codeOf(fixture.mailbox.put('segments-1', 'keys-1', 'x', old.subarray(0, 5)))).toBe('E_SEAL');
    expect(await codeOf(fixture.mailbox.put('keys-1', 'segments-1', 'x', old))).toBe('E_UNAVAILABLE');
    await fixture.registry.take('segments-1', 'mail', document, 0);
    expect((await fixture.registry.newest('segments-1', 'mail')).floor).toBe(floor);
    expect(await codeOf(fixture.registry.take('segments-1', 'mail', document, box.number + 1))).toBe('E_INPUT');
    const older = { ...box, number: box.number - 1 };
    const signed = await signBoxKey(fixture.identities.segments, fixture.directory.installation, older);
    expect(await codeOf(fixture.registry.take('segments-1', 'mail', signed, 0))).toBe('E_BOX_KEY');
  });
});
