import { consoleRoutes, createApiClient, fetchTransport } from '@millrace/api';
import { fromBase64, MillraceError, systemClock, systemRandom, toMillraceError } from '@millrace/base';
import {
  createSealer,
  createSession,
  type PreparedDesign,
  prepare,
  type Session,
  storeDesign,
  verifyKeyView,
} from '@millrace/client';
import { type BlobSource, blobSource, type OriginStorage, uploadTransports } from '@millrace/client/browser';
import { control, directoryBy } from './cloud.ts';
import { type AskPerson, GestureKey } from './gesture-key.ts';
import { originFiles } from './origin-files.ts';
import type { FromUploadWorker, ToUploadWorker, UploadSource } from './upload-messages.ts';
import type { Unlock } from './wrap.ts';

// A worker for one upload. It seals the file as it reads it, in memory for two pieces, and keeps the sealed segments in
// the browser's files. Then it has the person's key for the signatures, and uploads without it.

/** How long a cut connection is tried again, ms. */
const PATIENCE_MS = 60_000;
/** Least time between two reports of progress, ms. */
const REPORT_MS = 100;

type Start = Extract<ToUploadWorker, { type: 'start' }>;

/** The part of a worker's global scope used here. */
interface Scope {
  onmessage: ((event: { readonly data: ToUploadWorker }) => void) | null;
  postMessage(message: FromUploadWorker): void;
}
const scope = globalThis as unknown as Scope;
const say = (message: FromUploadWorker) => scope.postMessage(message);

let unlocked: (unlock: Unlock) => void = () => undefined;
const askPerson: AskPerson = (failure) =>
  new Promise((resolve) => {
    unlocked = resolve;
    say({ type: 'sign', failure: failure && { code: failure.code, message: failure.message } });
  });

/** Reports the first, the last, and a few between them. */
function reporter(step: 'sealing' | 'uploading') {
  let last = 0;
  return (done: number, total: number) => {
    const now = systemClock.monotonic();
    if (done > 0 && done < total && now - last < REPORT_MS) return;
    last = now;
    say({ type: 'progress', step, done, total });
  };
}

async function upload({ identity, uploads, source }: Start): Promise<void> {
  const { directory } = await directoryBy(identity);
  const { keys } = createApiClient(consoleRoutes, { transport: control });
  const view = await keys.get({ id: identity.key });
  const credential = fromBase64(view.credential);
  const { publicKey } = await verifyKeyView({ directory }, view);
  const key = new GestureKey(identity, publicKey, askPerson);
  const context = { directory, signer: key.signer, clock: systemClock, random: systemRandom };
  const distribution = { ...fetchTransport(uploads), close: () => undefined };
  const storage = await originFiles(identity);
  const session = createSession({
    ...{ directory, user: { name: identity.name, signer: key.signer }, contacts: { users: [], machines: [] } },
    ...{ storage, clock: systemClock, random: systemRandom, patienceMs: PATIENCE_MS },
    transports: uploadTransports({
      ...{ control, distribution, origin: uploads, context },
      credential: async () => credential,
    }),
  });
  try {
    const prepared = await preparedFrom(session, storage, key, source);
    await key.open();
    const report = reporter('uploading');
    const design = await storeDesign(session, prepared, (step, done, total) => {
      key.release();
      if (step === 'uploading') report(done, total);
      else say({ type: 'storing' });
    });
    say({ type: 'stored', design });
  } finally {
    session.close();
  }
}

async function preparedFrom(
  session: Session,
  storage: OriginStorage,
  key: GestureKey,
  source: UploadSource,
): Promise<PreparedDesign> {
  if ('file' in source) {
    const { name, material, bytesPerSecond } = source.terms;
    const sealer = createSealer();
    return prepare<BlobSource>(
      session,
      blobSource(source.file),
      { name, material, bytesPerSecond },
      // The key is opened when everything is sealed but the part for the owner.
      async (job) =>
        sealer({
          ...job,
          describe: async (...facts) => {
            await key.open();
            return job.describe(...facts);
          },
        }),
      reporter('sealing'),
    );
  }
  const found = (await storage.prepared.list()).find(({ state }) => state.design === source.design);
  if (found === undefined) throw new MillraceError('E_NOT_FOUND', 'this browser no longer has the sealed design');
  return found;
}

scope.onmessage = ({ data }) => {
  if (data.type === 'unlock') return unlocked(data.unlock);
  upload(data).catch((error: unknown) => {
    const { code, message } = toMillraceError(error);
    say({ type: 'failed', failure: { code, message } });
  });
};
