import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type ControlContext, openRecords, type PrintRecord, printsPage, type Records } from '@millrace/cloud/parts';
import { openLmdb } from '@millrace/stores';
import { open } from 'lmdb';
import { type Bench, type Candidate, measure } from './bench.ts';

const SIZES = [100, 100_000] as const;
const LIMIT = 50;
const USERS = 2;
/** Prints that are written concurrently, so that they share transactions. */
const BATCH = 1_000;
const RUNS = 3;
/** Pages per measurement. */
const PAGES = 20;

const id = () => randomBytes(16).toString('hex');
const size = (count: number) => count.toLocaleString('en');

/**
 * Time of one page of a user's prints, as `/v1/prints` returns it from LMDB, with few and with many prints. Compared
 * with a scan of every print, and with LMDB reading as many values. `npm run bench -- lists`.
 */
export const benchLists: Bench = async (note) => {
  const folder = resolve('.bench');
  await mkdir(folder, { recursive: true });
  const base = await mkdtemp(join(folder, 'lists-'));
  const opened: (() => Promise<void>)[] = [];
  try {
    const candidates: Candidate[] = [];
    for (const count of SIZES) {
      note(`${size(count)} prints are written`);
      const lmdb = openLmdb({ path: join(base, String(count)) });
      opened.push(() => lmdb.close());
      const records = openRecords(lmdb.records('records'));
      const users = Array.from({ length: USERS }, id) as [string, ...string[]];
      await writePrints(records, users, count);
      candidates.push(...(await candidatesOf(records, users[0], count)));
    }
    const plain = open<Buffer, number>({ path: join(base, 'plain'), encoding: 'binary' });
    opened.push(() => plain.close());
    await plain.transaction(() => {
      for (let i = 0; i < 100_000; i++) void plain.put(i, randomBytes(600));
    });
    candidates.push({
      name: `LMDB alone: getRange of ${LIMIT} values of 600 bytes`,
      unit: 'ms',
      run: () => readPlain(plain),
    });
    const [few, many] = SIZES.map((count) => `first page, ${size(count)} prints`) as [string, string];
    return await measure(candidates, RUNS, [
      ['first page with 100,000 prints : with 100', many, few],
      ['a page in the middle of 100,000 : the first', `page in the middle, ${size(SIZES[1])} prints`, many],
      ['scan of 100,000 prints : a page', `scan of all, ${size(SIZES[1])} prints`, many],
      ['a page : LMDB alone', many, `LMDB alone: getRange of ${LIMIT} values of 600 bytes`],
    ]);
  } finally {
    for (const close of opened.reverse()) await close();
    await rm(base, { recursive: true, force: true, maxRetries: 3 });
  }
};

/** Designs of each user; the prints are distributed over them. */
async function writePrints(records: Records, users: readonly string[], count: number): Promise<void> {
  const designs = users.flatMap((owner) => Array.from({ length: 10 }, () => ({ owner, design: id() })));
  for (const { owner, design } of designs)
    await records.designs.create(design, {
      design,
      owner,
      ownerKey: randomBytes(33),
      name: 'a design',
      core: randomBytes(200),
      custody: 'owner',
      kind: 'gcode',
      size: 1,
      segments: 1,
      contentMac: randomBytes(32),
      state: 'stored',
      transaction: randomBytes(300),
      credential: randomBytes(200),
    });
  for (let from = 0; from < count; from += BATCH)
    await Promise.all(
      Array.from({ length: Math.min(BATCH, count - from) }, (_, i) => {
        const { owner, design } = designs[(from + i) % designs.length] ?? { owner: '', design: '' };
        const print: PrintRecord = {
          print: id(),
          licence: id(),
          design,
          machine: id(),
          owner,
          holder: owner,
          created: 1_700_000_000_000 + from + i,
          startBy: 1_700_000_900_000 + from + i,
          state: 'completed',
          transaction: randomBytes(400),
          credential: randomBytes(200),
        };
        return records.prints.create(print.print, print);
      }),
    );
}

async function candidatesOf(records: Records, user: string, count: number): Promise<Candidate[]> {
  // The context that a page reads; no record is damaged and no print is running.
  const damaged = { attempt: (_table: string, _id: string, work: () => Promise<unknown>) => work() };
  const context = { records, damaged, progress: new Map() } as unknown as ControlContext;
  const actor = { role: 'user', name: user, admin: false } as const;
  const page = (cursor?: string) => printsPage(context, actor, { limit: LIMIT, cursor });
  const first: Candidate = { name: `first page, ${size(count)} prints`, unit: 'ms', run: () => each(() => page()) };
  if (count < 10 * LIMIT) return [first];
  let cursor: string | undefined;
  for (let i = 0; i < count / USERS / LIMIT / 2; i++) cursor = (await page(cursor)).next;
  const scan = async () => {
    let found = 0;
    const started = performance.now();
    for await (const [, print] of records.prints.list()) if (print.owner === user || print.holder === user) found++;
    return found > 0 ? performance.now() - started : Number.NaN;
  };
  return [
    first,
    { name: `page in the middle, ${size(count)} prints`, unit: 'ms', run: () => each(() => page(cursor)) },
    { name: `scan of all, ${size(count)} prints`, unit: 'ms', run: scan },
  ];
}

async function each(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  for (let i = 0; i < PAGES; i++) await work();
  return (performance.now() - started) / PAGES;
}

function readPlain(plain: ReturnType<typeof open<Buffer, number>>): number {
  const started = performance.now();
  for (let i = 0; i < PAGES; i++) for (const { value } of plain.getRange({ start: 50_000, limit: LIMIT })) value.at(0);
  return (performance.now() - started) / PAGES;
}
