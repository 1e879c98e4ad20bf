import { MillraceError } from '@millrace/base';
import { objectId } from '@millrace/protocol';
import { createOpening, createProtocolFixture } from '@millrace/testkit/protocol/support';
import { expect, it } from 'vitest';
import { OpeningOrder } from '../src/streaming/opening-order.ts';

const fixture = createProtocolFixture();
const licence = '5'.repeat(32);
const openingOf = (number: number) => createOpening(fixture, { permit: { number, object: objectId(licence, number) } });
const turn = () => new Promise((resolve) => setTimeout(resolve, 5));

/** An order whose tasks end when the test says so. */
async function started() {
  const order = new OpeningOrder();
  const [begun, works] = [[] as string[], [] as Promise<void>[]];
  const ends = new Map<string, (error?: Error) => void>();
  const task = (name: string) => () => {
    begun.push(name);
    return new Promise<void>((resolve, reject) => {
      ends.set(name, (error) => (error === undefined ? resolve() : reject(error)));
    });
  };
  const goOn = (work: Promise<void>) => {
    works.push(work);
    work.catch(() => undefined); // the tests look at it later
  };
  const end = async (name: string, error?: Error) => {
    ends.get(name)?.(error);
    await turn();
  };
  const open = async (name: string, number: number) => order.open(await openingOf(number), goOn, task(name));
  return { order, begun, works, task, goOn, open, end };
}

it('openings of different objects are handled at once, those of one object in order', async () => {
  const { begun, open, end } = await started();
  await open('one', 1);
  await open('two', 2);
  await open('one again', 1);
  await turn();
  expect(begun).toEqual(['one', 'two']);
  await end('one');
  expect(begun).toEqual(['one', 'two', 'one again']);
});

it('a session begins after the opening of its object', async () => {
  const { begun, order, open, task, end } = await started();
  await open('opening', 1);
  void order.ofObject(objectId(licence, 1), task('session'));
  await turn();
  expect(begun).toEqual(['opening']);
  await end('opening');
  expect(begun).toEqual(['opening', 'session']);
});

it('what stops a stream is handled after all earlier openings, also if one is refused, and before later ones', async () => {
  const { begun, works, order, open, task, end } = await started();
  await open('one', 1);
  await open('two', 2);
  const alone = order.alone(task('revocation'));
  await open('three', 3);
  await end('one', new MillraceError('E_LICENCE_REVOKED', 'refused'));
  expect(begun).toEqual(['one', 'two']);
  await end('two');
  expect(begun).toEqual(['one', 'two', 'revocation']);
  await end('revocation');
  expect(begun).toEqual(['one', 'two', 'revocation', 'three']);
  await alone;
  await expect(works[0]).rejects.toMatchObject({ code: 'E_LICENCE_REVOKED' });
  await works[1];
});

it('an opening that waits for a link holds up nothing, and is acknowledged when it has ended', async () => {
  const { begun, works, order, goOn, task, end } = await started();
  let connected: () => void = () => undefined;
  const link = new Promise<void>((resolve) => {
    connected = resolve;
  });
  await order.open(await openingOf(1), goOn, async (later) => void later(link));
  await turn();
  void order.alone(task('revocation'));
  await turn();
  expect(begun).toEqual(['revocation']);
  await end('revocation');
  let ended = false;
  void works[0]?.then(() => {
    ended = true;
  });
  await turn();
  expect(ended).toBe(false);
  connected();
  await works[0];
});

it('many openings at once hold up the mail', async () => {
  const { works, open, end } = await started();
  for (let number = 1; number < 64; number++) await open(`${number}`, number);
  let taken = false;
  const last = open('64', 64).then(() => {
    taken = true;
  });
  await turn();
  expect({ taken, works: works.length }).toEqual({ taken: false, works: 64 });
  await end('64');
  await last;
});
