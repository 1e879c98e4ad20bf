import { useEffect, useRef } from 'preact/hooks';
import { HomePage } from './home-page.tsx';
import { Keys } from './keys.tsx';
import { lazy } from './lazy.tsx';
import { useLoaded } from './loaded.ts';
import { Card } from './parts.tsx';
import { type Route, route } from './route.ts';
import { installation } from './server.ts';
import { acts, session } from './session.ts';
import { chooseLanguage, language, languages, words } from './words.ts';

const ApiPage = lazy(async () => (await import('./api-page.tsx')).ApiPage);
const CertificatePage = lazy(async () => (await import('./certificate-page.tsx')).CertificatePage);
const DesignsPage = lazy(async () => (await import('./designs-page.tsx')).DesignsPage);
const LicencesPage = lazy(async () => (await import('./licences-page.tsx')).LicencesPage);
const MachinesPage = lazy(async () => (await import('./machines-page.tsx')).MachinesPage);
const PeoplePage = lazy(async () => (await import('./people-page.tsx')).PeoplePage);
const OpenSessionPage = lazy(async () => (await import('./open-session-page.tsx')).OpenSessionPage);
const PlatformPage = lazy(async () => (await import('./platform-page.tsx')).PlatformPage);
const PrintsPage = lazy(async () => (await import('./prints-page.tsx')).PrintsPage);
const SignInPage = lazy(async () => (await import('./sign-in-page.tsx')).SignInPage);
const ViewPage = lazy(async () => (await import('./view/view-page.tsx')).ViewPage);
const LedgerPage = lazy(async () => (await import('./ledger-page.tsx')).LedgerPage);
const UsagePage = lazy(async () => (await import('./usage-page.tsx')).UsagePage);

/** Pages for people who are signed in. */
const privatePages = {
  machines: MachinesPage,
  designs: DesignsPage,
  licences: LicencesPage,
  prints: PrintsPage,
  usage: UsagePage,
  people: PeoplePage,
  platform: PlatformPage,
} as const;
type PrivatePage = keyof typeof privatePages;
const isPrivate = (page: string): page is PrivatePage => Object.hasOwn(privatePages, page);

function Page({ page, rest }: Route) {
  switch (page) {
    case 'certificate':
      return <CertificatePage object={rest[0]} key={rest[0]} />;
    case 'ledger':
      return <LedgerPage number={rest[0]} key={rest[0]} />;
    case 'api':
      return <ApiPage name={rest[0]} />;
    case 'view':
      return <ViewPage />;
    case 'session':
      return <OpenSessionPage request={rest[0] ?? ''} key={rest[0]} />;
    case 'sign-in':
      return <SignInPage code={rest[0]} />;
    default:
      return isPrivate(page) ? <Private page={page} /> : <HomePage />;
  }
}

function Private({ page }: { readonly page: PrivatePage }) {
  const w = words.value;
  if (!session.known.value) return <p role="status">{w.loading}</p>;
  if (session.view.value === undefined)
    return (
      <Card>
        <p>{w.signInNeeded}</p>
        <a class="button" href="#/sign-in">
          {w.signIn}
        </a>
      </Card>
    );
  const Shown = privatePages[page];
  return <Shown />;
}

function Account() {
  const w = words.value;
  const view = session.view.value;
  if (!session.known.value) return undefined;
  if (view === undefined) return <a href="#/sign-in">{w.signIn}</a>;
  const who = view.organisationName === undefined ? view.name : `${view.name}, ${view.organisationName}`;
  return (
    <>
      <span class="who" title={w.signedInAs(who)}>
        {who}
      </span>
      <button type="button" class="plain small" onClick={() => void session.signOut()}>
        {w.signOut}
      </button>
    </>
  );
}

export function App() {
  const w = words.value;
  const main = useRef<HTMLElement>(null);
  const { page, rest } = route.value;
  const { value: keys } = useLoaded('installation', installation);
  const first = useRef(true);
  const signedIn = session.view.value !== undefined;
  const links: readonly (readonly [name: string, text: string])[] = [
    ...(signedIn
      ? ([
          ['machines', w.machines],
          ...(acts(session.view.value, 'designer') ? ([['designs', w.designs]] as const) : []),
          ['licences', w.licences],
          ['prints', w.prints],
          ['usage', w.usage],
          ['people', w.people],
          ...(session.view.value?.admin === true ? ([['platform', w.platform]] as const) : []),
        ] as const)
      : []),
    ['view', w.view],
    ['certificate', w.certificate],
    ['ledger', w.ledger],
  ];
  const titles: Readonly<Record<string, string>> = { 'sign-in': w.signIn, api: 'API' };
  const title = titles[page] ?? links.find(([name]) => name === page)?.[1] ?? w.home;
  useEffect(() => void session.check(), []);
  // A new page is announced and read from its beginning, as after the load of a document.
  useEffect(() => {
    if (!first.current) main.current?.focus();
    first.current = false;
  }, [page, rest[0]]);
  useEffect(() => {
    document.title = `${title} · Millrace`;
  }, [title]);
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        {w.skip}
      </button>
      <header class="bar">
        <div>
          <a class="brand" href="#/">
            <Logo />
            Millrace
          </a>
          <nav>
            <ul>
              {links.map(([name, text]) => (
                <li key={name}>
                  <a href={`#/${name}`} aria-current={name === page ? 'page' : undefined}>
                    {text}
                  </a>
                </li>
              ))}
            </ul>
          </nav>
          <div class="end">
            <Account />
            <select
              aria-label={w.language}
              value={language.value}
              onChange={(event) => chooseLanguage(event.currentTarget.value)}
            >
              {Object.entries(languages).map(([name, text]) => (
                <option key={name} value={name}>
                  {text}
                </option>
              ))}
            </select>
          </div>
        </div>
      </header>
      <main id="content" ref={main} tabIndex={-1}>
        <Page page={page} rest={rest} />
      </main>
      <footer>
        {keys === undefined ? undefined : <p class="mono">{w.installationOf(keys.installation)}</p>}
        <p>
          {w.noThirdParty} <a href="#/api">API</a>
        </p>
      </footer>
      <Keys />
    </>
  );
}

function Logo() {
  return (
    <svg viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" />
      <path
        d="M6 23V9l5 7 5-7 5 7 5-7v14"
        fill="none"
        stroke-width="3"
        stroke-linecap="round"
        stroke-linejoin="round"
      />
    </svg>
  );
}
