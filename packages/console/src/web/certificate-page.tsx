import { fromHex } from '@millrace/base';
import {
  type CertificateSummary,
  checkCertificate,
  isCertificatePage,
  type PageTrust,
  readCertificatePage,
  type VerdictWords,
  verdictEnglish,
  verdictGerman,
} from '@millrace/client';
import { computed } from '@preact/signals';
import { useEffect, useState } from 'preact/hooks';
import { CertificateLabel } from './certificate-label.tsx';
import { Drop } from './drop.tsx';
import { Card, Facts, Failure, Verdict } from './parts.tsx';
import { api, installation } from './server.ts';
import { formatCount, formatTime, language, words } from './words.ts';

/** No certificate is larger, bytes. */
const MAX_FILE = 32 * 1024 * 1024;

const verdictWords = computed((): VerdictWords => (language.value === 'de' ? verdictGerman : verdictEnglish));

interface Given {
  readonly certificate: Uint8Array;
  readonly trust: PageTrust;
  /** Whether the file named the keys, not this server. */
  readonly ownKeys: boolean;
}

interface Result extends Given {
  readonly summary?: CertificateSummary;
  readonly error?: unknown;
}

/** The certificate of an object of the person who is signed in. */
async function readObject(id: string): Promise<Given> {
  const { logKeys, adminKey: authority, witnesses } = await installation();
  const certificate = await api.objects.certificate({ id });
  return { certificate, trust: { logKeys, authority, witnesses }, ownKeys: false };
}

/** The certificate in a file, and the keys to verify it with. */
async function readFile(file: Blob): Promise<Given> {
  if (file.size > MAX_FILE) throw new RangeError(words.value.tooLarge);
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (isCertificatePage(bytes)) return { ...readCertificatePage(bytes), ownKeys: true };
  const { logKeys, adminKey: authority, witnesses } = await installation();
  return { certificate: bytes, trust: { logKeys, authority, witnesses }, ownKeys: false };
}

async function verify(given: Given, spoken: VerdictWords): Promise<Result> {
  try {
    const { logKeys, authority, witnesses } = given.trust;
    const trust = { logKey: logKeys, authority: fromHex(authority), witnesses };
    return { ...given, summary: await checkCertificate(given.certificate, trust, spoken) };
  } catch (error) {
    return { ...given, error };
  }
}

/** @param object whose certificate the server has; absent: a file */
export function CertificatePage({ object }: { readonly object: string | undefined }) {
  const w = words.value;
  const spoken = verdictWords.value;
  const [given, setGiven] = useState<Given>();
  const [result, setResult] = useState<Result>();
  const [failure, setFailure] = useState<unknown>();
  const show = (found: Promise<Given>) => {
    setFailure(undefined);
    found.then(setGiven, setFailure);
  };
  useEffect(() => {
    let ended = false;
    if (given !== undefined) verify(given, spoken).then((verified) => ended || setResult(verified), setFailure);
    return () => {
      ended = true;
    };
  }, [given, spoken]);
  useEffect(() => {
    if (object !== undefined) show(readObject(object));
  }, [object]);
  if (result === undefined && object !== undefined)
    return failure === undefined ? <p role="status">{w.loading}</p> : <Failure error={failure} />;
  if (result === undefined)
    return (
      <>
        <h1>{w.certificateTitle}</h1>
        <p>{w.certificateText}</p>
        <Drop title={w.dropTitle} text={w.dropText} onFile={(file) => show(readFile(file))} />
        {failure === undefined ? undefined : <Failure error={failure} />}
      </>
    );
  const { summary, error, certificate, trust, ownKeys } = result;
  return (
    <>
      <h1>{w.certificate}</h1>
      {summary === undefined ? <NotGenuine error={error} /> : <Found summary={summary} />}
      {summary?.made === true ? <CertificateLabel summary={summary} certificate={certificate} /> : undefined}
      <Keys trust={trust} ownKeys={ownKeys} onVerify={(named) => setGiven({ certificate, trust: named, ownKeys })} />
      <div>
        <button
          type="button"
          class="plain"
          onClick={() => {
            setGiven(undefined);
            setResult(undefined);
            location.hash = '#/certificate';
          }}
        >
          {w.another}
        </button>
      </div>
    </>
  );
}

function NotGenuine({ error }: { readonly error: unknown }) {
  return (
    <>
      <Verdict tone="bad" title={words.value.notGenuine} text={words.value.notGenuineText} />
      <Failure error={error} />
    </>
  );
}

function Found({ summary }: { readonly summary: CertificateSummary }) {
  const w = words.value;
  const { term } = verdictWords.value;
  const { made, life, machine } = summary;
  return (
    <>
      {made ? (
        <Verdict
          tone="good"
          title={life.retired === undefined ? w.genuine : w.retired(term(life.retired.reason))}
          text={w.genuineText}
        />
      ) : (
        <Verdict tone="open" title={w.notCompleted(term(summary.state))} text={w.notCompletedText} />
      )}
      <Card>
        <Facts
          rows={[
            [w.object, summary.object, 'code'],
            [w.state, term(summary.state)],
            [w.number, w.numberOf(formatCount(summary.number), formatCount(summary.of))],
            [w.partOwner, life.owner, 'code'],
            [w.machine, machine?.serial],
            [w.material, summary.material],
            [w.design, summary.design, 'code'],
            [w.licence, summary.licence, 'code'],
            [w.signatures, w.verifiedCount(formatCount(summary.signatures))],
          ]}
        />
      </Card>
      <Card title={w.proven} kind="proven">
        <Statements mark="✓" lines={summary.checked} />
      </Card>
      <Card title={w.unproven} kind="unproven">
        <Statements mark="?" lines={summary.unchecked} />
      </Card>
      <Card title={w.happened}>
        <table>
          <thead>
            <tr>
              <th scope="col">{w.event}</th>
              <th scope="col">{w.time}</th>
            </tr>
          </thead>
          <tbody>
            {summary.events.map(({ type, time }, at) => (
              <tr key={at}>
                <td>{term(type)}</td>
                <td>
                  <time dateTime={time}>{formatTime(time)}</time>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Card>
    </>
  );
}

/** The sentences of the verifier. "log: every entry is …" has its topic in bold. */
function Statements({ mark, lines }: { readonly mark: string; readonly lines: readonly string[] }) {
  return (
    <ul class="statements">
      {lines.map((line) => {
        const [, topic, rest] = /^([\p{L}’ ]{3,20}): (.*)$/su.exec(line) ?? [];
        return (
          <li key={line}>
            <span aria-hidden="true">{mark}</span>
            <span>{topic === undefined ? line : [<b key="topic">{topic}: </b>, rest]}</span>
          </li>
        );
      })}
    </ul>
  );
}

function Keys({
  trust,
  ownKeys,
  onVerify,
}: {
  readonly trust: PageTrust;
  readonly ownKeys: boolean;
  readonly onVerify: (trust: PageTrust) => void;
}) {
  const w = words.value;
  const [logKeys, setLogKeys] = useState(trust.logKeys.join('\n'));
  const [authority, setAuthority] = useState(trust.authority);
  return (
    <Card title={w.whoseWord}>
      <p>{ownKeys ? w.pageKeysText : w.whoseWordText}</p>
      <label for="log-key">{w.logKey}</label>
      <textarea
        id="log-key"
        rows={2}
        spellcheck={false}
        autocomplete="off"
        value={logKeys}
        onInput={(event) => setLogKeys(event.currentTarget.value)}
      />
      <label for="admin-key">{w.adminKey}</label>
      <textarea
        id="admin-key"
        rows={2}
        spellcheck={false}
        autocomplete="off"
        value={authority}
        onInput={(event) => setAuthority(event.currentTarget.value)}
      />
      <button
        type="button"
        class="plain"
        onClick={() =>
          onVerify({
            ...trust,
            logKeys: logKeys.split(/\s+/).filter((key) => key !== ''),
            authority: authority.trim(),
          })
        }
      >
        {w.verifyWith}
      </button>
    </Card>
  );
}
