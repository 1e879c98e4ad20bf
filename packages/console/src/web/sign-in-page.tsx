import { useState } from 'preact/hooks';
import { answer } from './company-answer.ts';
import { CompanyAnswer, CompanyCard, isCompanyText } from './company-sign-in.tsx';
import { Signing } from './gesture.tsx';
import { forgetIdentity, identity, keepIdentity } from './identity.ts';
import { identitySchema } from './identity-shape.ts';
import { type NewKey, NewKeyForm } from './new-key-form.tsx';
import { Card } from './parts.tsx';
import { runJob } from './run-job.ts';
import { session } from './session.ts';
import { words } from './words.ts';

async function signedIn(): Promise<void> {
  await session.check();
  // The invitation was in the address: it leaves the browser's history.
  location.replace('#/machines');
}

/** @param code an invitation, or the text of a company sign-in, from the address */
export function SignInPage({ code }: { readonly code: string | undefined }) {
  const w = words.value;
  const own = identity.value;
  const reads = session.view.value?.company === true;
  const company = code !== undefined && isCompanyText(code) ? code : undefined;
  const invitation = company === undefined ? code : undefined;
  if (answer.value !== undefined)
    return (
      <>
        <h1>{w.signIn}</h1>
        <CompanyAnswer answer={answer.value} done={signedIn} />
      </>
    );
  return (
    <>
      <h1>{w.signIn}</h1>
      {own === undefined || code !== undefined ? undefined : (
        <Card title={w.welcomeBack(own.name)}>
          <p>{own.passkey === undefined ? w.signInPassphrase : w.signInPasskey}</p>
          <Signing label={w.signIn} job={(mine) => ({ type: 'sign-in', identity: mine })} done={signedIn} />
        </Card>
      )}
      {invitation === undefined ? <CompanyCard text={company} key={company} /> : undefined}
      {own !== undefined && code === undefined ? <Forget /> : undefined}
      {invitation !== undefined || (own === undefined && company === undefined && !reads) ? (
        <Enrol code={invitation ?? ''} />
      ) : undefined}
    </>
  );
}

function Forget() {
  const w = words.value;
  return (
    <details class="card">
      <summary>{w.forgetTitle}</summary>
      <p class="after">{w.forgetText}</p>
      <button type="button" class="plain" onClick={forgetIdentity}>
        {w.forget}
      </button>
    </details>
  );
}

function Enrol({ code }: { readonly code: string }) {
  const w = words.value;
  const [invitation, setInvitation] = useState(code);
  const enrol = async ({ unlock, ...made }: NewKey) => {
    const job = { type: 'enrol', invitation: invitation.trim(), ...made } as const;
    keepIdentity(identitySchema.parse(await runJob(job, unlock)));
    await signedIn();
  };
  return (
    <Card title={w.enrolTitle}>
      <p>{w.enrolText}</p>
      <NewKeyForm made={enrol}>
        <label for="invitation">{w.invitation}</label>
        <textarea
          id="invitation"
          rows={4}
          required
          spellcheck={false}
          autocomplete="off"
          value={invitation}
          onInput={(event) => setInvitation(event.currentTarget.value)}
        />
      </NewKeyForm>
    </Card>
  );
}
