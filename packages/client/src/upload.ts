import type { DesignView } from '@millrace/api';
import { isErrorCode, MillraceError, sleep } from '@millrace/base';
import { sha256 } from '@millrace/protocol';
import { shareDesign } from './design-shares.ts';
import { ownParty } from './people.ts';
import type { PreparedDesign } from './prepared.ts';
import type { Session } from './session.ts';
import { signNew } from './transactions.ts';

const IN_FLIGHT = 8;
/** Segments in one request. */
const RUN = 16;
const POLL_MS = 200;

export type StoreStep = 'uploading' | 'storing';

/** Reports progress: segments uploaded, then the vault's work. */
export type StoreProgress = (step: StoreStep, done: number, total: number) => void;

/**
 * Stores a prepared design in the vault: announces it, uploads the segments that distribution lacks, waits until it is
 * stored, and removes the local copy. Safe to restart at any point.
 * @throws {MillraceError} the code with which the vault refused the design
 */
export async function storeDesign(
  session: Session,
  prepared: PreparedDesign,
  progress: StoreProgress,
): Promise<DesignView> {
  const { api } = session;
  const { design, segments } = prepared.state;
  const known = prepared.earlier ? await findDesign(session, design) : undefined;
  const view = known ?? (await announceDesign(session, prepared));
  // Before the upload: in a browser, the person's key is open only for a moment.
  await shareWithColleagues(session, design);
  if (view.state === 'uploading') {
    await uploadMissing(session, prepared, (done) => progress('uploading', done, segments));
    await api.designUploaded(design);
  }
  progress('storing', segments, segments);
  const ended = await untilStored(session, prepared, progress);
  await prepared.remove();
  if (ended.state === 'refused') {
    const code = isErrorCode(ended.code) ? ended.code : 'E_SEGMENT';
    throw new MillraceError(code, `the vault refused the design: ${ended.reason ?? 'no reason was given'}`, {
      data: { design },
    });
  }
  return ended;
}

/** The other designers of the organisation can then license the design, also if this device is lost. */
async function shareWithColleagues(session: Session, design: string): Promise<void> {
  const party = await ownParty(session);
  if ('organisation' in party) await shareDesign(session, design);
}

async function findDesign({ api }: Session, design: string): Promise<DesignView | undefined> {
  try {
    return await api.design(design);
  } catch (error) {
    if (error instanceof MillraceError && error.code === 'E_NOT_FOUND') return undefined;
    throw error;
  }
}

/** Tells the cloud of a prepared design: manifest and content keys, no segment. */
export async function announceDesign(session: Session, prepared: PreparedDesign): Promise<DesignView> {
  const { design } = prepared.state;
  const manifest = await prepared.manifest();
  const keys = await prepared.keys();
  const transaction = await signNew(session, {
    type: 'design.add',
    design,
    manifestHash: sha256(manifest),
    keysHash: sha256(keys),
  });
  try {
    await session.api.submit(transaction.bytes, { manifest, keys });
  } catch (error) {
    // The content keys can no longer be opened. The design must be prepared again.
    if (error instanceof MillraceError && error.code === 'E_BOX_KEY') await prepared.remove();
    throw error;
  }
  return session.api.design(design);
}

/** @returns whether the distribution node lacked any segment */
async function uploadMissing(
  { api }: Session,
  prepared: PreparedDesign,
  progress: (done: number) => void,
): Promise<boolean> {
  const { design, segments } = prepared.state;
  const file = await prepared.openSegments();
  try {
    for (let lacked = false; ; lacked = true) {
      const { have, missing } = await api.missing(design, segments);
      if (missing.length === 0) return lacked;
      let done = have;
      progress(done);
      await inFlight(runsOf(missing), async ([first, count]) => {
        await api.upload(design, first, await file.read(first, count));
        done += count;
        progress(done);
      });
    }
  } finally {
    await file.close();
  }
}

/** Consecutive numbers, at most `RUN` of them: the first, and how many. */
function runsOf(numbers: readonly number[]): (readonly [first: number, count: number])[] {
  const runs: [number, number][] = [];
  for (const number of numbers) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] < RUN && number === last[0] + last[1]) last[1] += 1;
    else runs.push([number, 1]);
  }
  return runs;
}

/** Runs `task` for each item, a few at a time. After the first failure it waits for the running tasks, then rejects. */
async function inFlight<T>(items: readonly T[], task: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async () => {
    while (next < items.length && !failed) {
      const item = items[next] as T;
      next += 1;
      try {
        await task(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const results = await Promise.allSettled(Array.from({ length: IN_FLIGHT }, worker));
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function untilStored(session: Session, prepared: PreparedDesign, progress: StoreProgress): Promise<DesignView> {
  const { api, signal } = session;
  const { design, segments } = prepared.state;
  const upload = () => uploadMissing(session, prepared, (done) => progress('uploading', done, segments));
  for (;;) {
    const view = await api.design(design);
    if (view.state === 'stored' || view.state === 'refused') return view;
    if (view.state === 'uploading') {
      // The vault found segments missing. A node that says that it lacks none has lost some, or does not tell the truth.
      if (!(await upload())) {
        api.uploadElsewhere(design);
        await upload();
      }
      await api.designUploaded(design);
    }
    await sleep(POLL_MS, signal);
  }
}
