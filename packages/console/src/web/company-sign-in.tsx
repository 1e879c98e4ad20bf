import { MillraceError } from '@millrace/base';
import { parseInstallation } from '@millrace/client';
import type { ProviderKey } from '@millrace/protocol';
import { useEffect, useState } from 'preact/hooks';
import { answer as addressAnswer } from './company-answer.ts';
import type { PendingKey, Prepared } from './company-jobs.ts';
import { companyWords } from './company-words.ts';
import { Signing } from './gesture.tsx';
import { identity, keepIdentity } from './identity.ts';
import { identitySchema } from './identity-shape.ts';
import { type NewKey, NewKeyForm } from './new-key-form.tsx';
import { Card, Failure } from './parts.tsx';
import { runJob } from './run-job.ts';
import { api, installation } from './server.ts';
import { session } from './session.ts';
import { words } from './words.ts';

// Signing in at the company's provider: to read, or to enrol a key of this browser, with which the person signs.

const PREFIX = 'millrace-installation:';
/** The text that this browser has used last. It is public. */
const TEXT = 'millrace.company';
/** What the tab keeps while the person is at the provider. */
const PENDING = 'millrace.company.pending';

export const isCompanyText = (text: string) => text.startsWith(PREFIX);

/** The company sign-in that a person has begun, before leaving for the provider. */
interface Begun {
  readonly address: string;
  readonly issuer: string;
  readonly organisationName: string;
}

/** @throws {MillraceError} E_INPUT if the text is not one of this server's company sign-ins */
async function begin(text: string, nonce?: string): Promise<Begun> {
  const { organisation, installation: named } = parseInstallation(text.trim());
  if (organisation === undefined) throw new MillraceError('E_INPUT', companyWords.value.noOrganisation);
  if (named !== (await installation()).installation)
    throw new MillraceError('E_INPUT', companyWords.value.otherInstallation);
  return api.companySignIns.begin({ body: { organisation, ...(nonce === undefined ? {} : { nonce }) } });
}

/** @param text from the address; undefined for the one that this browser has used */
export function CompanyCard({ text: given }: { readonly text: string | undefined }) {
  const w = companyWords.value;
  const known = localStorage.getItem(TEXT) ?? '';
  const [text, setText] = useState(given ?? known);
  const [wantsKey, setWantsKey] = useState(false);
  const [begun, setBegun] = useState<Begun>();
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState<unknown>();
  const own = identity.value;
  // Whoever reads already needs a key for the rest.
  const reads = session.view.value?.company === true;
  const leave = async (nonce?: string) => {
    setFailure(undefined);
    const found = await begin(text, nonce);
    // A text that this browser has not used may lead to somebody else's provider: the person looks at it first.
    if (text.trim() !== known) return setBegun(found);
    location.assign(found.address);
  };
  const read = async () => {
    setBusy(true);
    try {
      sessionStorage.removeItem(PENDING);
      await leave();
    } catch (error) {
      setFailure(error);
    } finally {
      setBusy(false);
    }
  };
  const withKey = async ({ pending, nonce }: Prepared) => {
    sessionStorage.setItem(PENDING, JSON.stringify(pending));
    await leave(nonce);
  };
  const make = async ({ unlock, ...made }: NewKey) =>
    withKey((await runJob({ type: 'company-key', text: text.trim(), ...made }, unlock)) as Prepared);

  if (begun !== undefined)
    return (
      <Card title={w.confirmTitle}>
        <p>{w.confirmText(begun.organisationName)}</p>
        <p class="mono">{begun.issuer}</p>
        <div class="row">
          <button
            type="button"
            onClick={() => {
              localStorage.setItem(TEXT, text.trim());
              location.assign(begun.address);
            }}
          >
            {w.goThere}
          </button>
          <button type="button" class="plain" onClick={() => setBegun(undefined)}>
            {words.value.cancelUpload}
          </button>
        </div>
      </Card>
    );
  const mayRenew = own?.company !== undefined && own.company === text.trim();
  return (
    <Card title={w.title}>
      <p>{reads ? w.keyText : w.text}</p>
      {given !== undefined || known !== '' ? undefined : (
        <>
          <label for="company">{w.companyText}</label>
          <textarea
            id="company"
            rows={3}
            spellcheck={false}
            autocomplete="off"
            placeholder={`${PREFIX}…`}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </>
      )}
      {reads || wantsKey ? (
        own === undefined ? (
          <NewKeyForm made={make} />
        ) : mayRenew ? (
          <Signing
            label={w.renew}
            job={(mine) => ({ type: 'company-renewal', text: text.trim(), device: w.thisBrowser, identity: mine })}
            done={(prepared) => withKey(prepared as Prepared)}
          />
        ) : (
          <p class="quiet">{w.otherKey}</p>
        )
      ) : (
        <div class="row">
          <button type="button" disabled={busy || !isCompanyText(text.trim())} onClick={() => void read()}>
            {w.read}
          </button>
          <button type="button" class="plain" disabled={!isCompanyText(text.trim())} onClick={() => setWantsKey(true)}>
            {mayRenew ? w.renew : w.makeKey}
          </button>
        </div>
      )}
      {failure === undefined ? undefined : <Failure error={failure} />}
    </Card>
  );
}

interface Enrolment {
  readonly pending: PendingKey;
  readonly idToken: string;
  readonly providerKey: ProviderKey;
}

/** The person is back from the provider. */
export function CompanyAnswer({ answer, done }: { readonly answer: string; readonly done: () => Promise<void> }) {
  const [failure, setFailure] = useState<unknown>();
  const [enrolment, setEnrolment] = useState<Enrolment>();
  useEffect(() => {
    const end = async () => {
      const ended = await api.companySignIns.answer({ body: { answer } });
      if (ended.enrolment !== undefined) return setEnrolment({ pending: readPending(), ...ended.enrolment });
      addressAnswer.value = undefined;
      await done();
    };
    end().catch(setFailure);
  }, [answer]);
  const restart = () => {
    addressAnswer.value = undefined;
  };
  if (failure !== undefined) return <Failure error={failure} again={restart} />;
  if (enrolment === undefined) return <p role="status">{words.value.loading}</p>;
  return <Finish enrolment={enrolment} done={done} />;
}

function readPending(): PendingKey {
  const kept = sessionStorage.getItem(PENDING);
  sessionStorage.removeItem(PENDING);
  if (kept === null) throw new MillraceError('E_STATE', companyWords.value.noPending);
  return JSON.parse(kept) as PendingKey;
}

/** The provider has vouched for the key: the person opens it once more, and it signs its enrolment. */
function Finish({ enrolment, done }: { readonly enrolment: Enrolment; readonly done: () => Promise<void> }) {
  const w = companyWords.value;
  const own = enrolment.pending.identity;
  return (
    <Card title={w.finishTitle}>
      <p>{own.passkey === undefined ? w.finishPassphrase : w.finishPasskey}</p>
      <Signing
        label={w.finish}
        own={own}
        job={() => ({ type: 'company-enrolment', ...enrolment })}
        done={async (enrolled) => {
          keepIdentity(identitySchema.parse(enrolled));
          addressAnswer.value = undefined;
          await done();
        }}
      />
    </Card>
  );
}
