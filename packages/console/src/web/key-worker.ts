import { consoleRoutes, createApiClient } from '@millrace/api';
import { MillraceError, systemClock, systemRandom, toBase64, toMillraceError, wipe } from '@millrace/base';
import {
  cancelPrint,
  createMemoryStorage,
  createSession,
  enrol,
  grantLicence,
  parseInvitation,
  requestPrint,
  type Session,
  type SigningContext,
  signNew,
} from '@millrace/client';
import { generateUserKey, keyName, ownerSealingKey, userKey } from '@millrace/identity';
import type { HttpClient } from '@millrace/protocol';
import { control, directoryBy } from './cloud.ts';
import { performForCompany } from './company-jobs.ts';
import { aboutOf, type Identity } from './identity-shape.ts';
import type { Job, JobAnswer, JobRequest } from './jobs.ts';
import { performForOperator } from './operator-jobs.ts';
import { performForPeople } from './people-jobs.ts';
import { performForWebhooks } from './webhook-jobs.ts';
import { type Unlock, unwrapKey, wrapKey } from './wrap.ts';

// A worker of its own for every job. It has the person's key for the time of the job, and ends with it.

/** Uploads need a certificate, which browsers do not have. */
const noDistribution: HttpClient = {
  call: async () => {
    throw new MillraceError('E_KEY_NEEDED', 'the distribution node needs a user’s certificate');
  },
  close: () => undefined,
};

/** Opens the key for a session with control, and wipes it. */
async function withKey<T>(
  identity: Identity,
  unlock: Unlock,
  work: (session: Session, sequence: number) => Promise<T>,
): Promise<T> {
  const { directory, sequence } = await directoryBy(identity);
  const secret = await unwrapKey(identity.wrapped, unlock, aboutOf(identity));
  const signer = userKey(secret);
  wipe(secret);
  const session = createSession({
    ...{ directory, user: { name: identity.name, signer }, contacts: { users: [], machines: [] } },
    ...{ storage: createMemoryStorage(), transports: { control, distribution: noDistribution } },
    ...{ clock: systemClock, random: systemRandom, patienceMs: 5_000 },
  });
  try {
    return await work(session, sequence);
  } finally {
    session.close();
  }
}

/** Browsers do not reach the distribution node, which takes newer lists from control. */
function throughControl(session: Session): Session {
  const { revocations } = createApiClient(consoleRoutes, { transport: control });
  const publishRevocations = (body: Uint8Array) => revocations.publish({ body });
  return { ...session, api: { ...session.api, publishRevocations } };
}

async function enrolHere(
  { invitation, device, salt, passkey }: Extract<Job, { type: 'enrol' }>,
  unlock: Unlock,
  origin: string,
): Promise<Identity> {
  const { secret, installation, adminKey, addresses } = parseInvitation(invitation);
  const signer = generateUserKey(systemRandom);
  const own = signer.exportSecret();
  try {
    const { directory } = await directoryBy({ installation, adminKey });
    const enrolling = { control, directory, signer, clock: systemClock, random: systemRandom };
    const sealing = ownerSealingKey(own);
    sealing.close();
    const credential = await enrol(enrolling, secret, { name: device, sealingKey: sealing.publicKey });
    const key = keyName(signer.publicKey);
    const about = aboutOf({ installation, key });
    const wrapped = await wrapKey(own, unlock, { salt, about, random: systemRandom });
    await signIn(enrolling, origin);
    const { name } = credential;
    const kept = { version: 1 as const, installation, adminKey, addresses, key, name, wrapped };
    return { ...kept, ...(passkey === undefined ? {} : { passkey }) };
  } finally {
    wipe(own, secret);
    signer.close();
  }
}

/** Asks control for a session: its answer sets a cookie that scripts cannot read. */
async function signIn(context: SigningContext, origin: string): Promise<void> {
  const { bytes } = await signNew(context, { type: 'session.open', origin });
  const { sessions } = createApiClient(consoleRoutes, { transport: control });
  await sessions.open({ body: { request: toBase64(bytes) } });
}

function perform({ origin, unlock, job }: JobRequest): Promise<unknown> {
  switch (job.type) {
    case 'enrol':
      return enrolHere(job, unlock, origin);
    case 'company-key':
    case 'company-renewal':
    case 'company-enrolment':
      return performForCompany(job, unlock, (context) => signIn(context, origin));
    case 'sign-in':
      return withKey(job.identity, unlock, (session) => signIn(session, origin));
    case 'print':
      return withKey(job.identity, unlock, (session) => requestPrint(session, job.licence, job.machine));
    case 'cancel':
      return withKey(job.identity, unlock, (session) => cancelPrint(session, job.print));
    case 'command':
    case 'first':
    case 'clear':
    case 'rehearse':
    case 'watch-camera':
    case 'load-spool':
    case 'report-failure':
      return withKey(job.identity, unlock, (session) => performForOperator(job, session));
    case 'grant': {
      const { identity, type: _, ...terms } = job;
      return withKey(identity, unlock, (session) => grantLicence(session, terms));
    }
    case 'create-webhook':
    case 'rotate-webhook':
    case 'test-webhook':
    case 'set-webhook':
      return withKey(job.identity, unlock, (session) => performForWebhooks(job, session));
    case 'invite':
    case 'add-device':
    case 'revoke':
    case 'create-token':
    case 'revoke-token':
    case 'decide-case':
      return withKey(job.identity, unlock, (session, sequence) =>
        performForPeople(job, throughControl(session), sequence),
      );
  }
}

/** The part of a worker's global scope used here. */
interface Scope {
  onmessage: ((event: { readonly data: JobRequest }) => void) | null;
  postMessage(answer: JobAnswer): void;
}

const scope = globalThis as unknown as Scope;
scope.onmessage = ({ data }) => {
  const { unlock } = data;
  perform(data)
    .then(
      (value): JobAnswer => ({ ok: true, value }),
      (error: unknown): JobAnswer => {
        const { code, message } = toMillraceError(error);
        return { ok: false, code, message };
      },
    )
    .then((answer) => {
      if (unlock.kind === 'passphrase') wipe(unlock.passphrase);
      scope.postMessage(answer);
    });
};
