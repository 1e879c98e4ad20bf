import { toMillraceError } from '@millrace/base';
import type { ComponentChildren } from 'preact';
import { errorText } from './error-text.ts';
import type { Loaded } from './loaded.ts';
import { words } from './words.ts';

export type Tone = 'good' | 'bad' | 'open';

const marks: Readonly<Record<Tone, string>> = { good: '✓', bad: '✕', open: '…' };

export function Card({
  title,
  kind = '',
  children,
}: {
  readonly title?: string;
  readonly kind?: string;
  readonly children: ComponentChildren;
}) {
  return (
    <section class={`card ${kind}`}>
      {title === undefined ? undefined : <h2>{title}</h2>}
      {children}
    </section>
  );
}

/** The answer of a page, in one sentence. Screen readers say it when it appears. */
export function Verdict({ tone, title, text }: { readonly tone: Tone; readonly title: string; readonly text: string }) {
  return (
    <div class={`card verdict ${tone}`} role="status" data-verdict={tone}>
      <div class="mark" aria-hidden="true">
        {marks[tone]}
      </div>
      <div>
        <h2>{title}</h2>
        <p>{text}</p>
      </div>
    </div>
  );
}

/** `code`: in a font of fixed width. `en`: in English, whatever the language of the page. */
export type FactRow = readonly [name: string, value: string | undefined, kind?: 'code' | 'en' | undefined];

export function Facts({ rows }: { readonly rows: readonly FactRow[] }) {
  return (
    <dl>
      {rows.map(([name, value, kind]) =>
        value === undefined ? undefined : (
          <>
            <dt>{name}</dt>
            <dd class={kind === 'code' ? 'mono' : ''} lang={kind === 'en' ? 'en' : undefined}>
              {value}
            </dd>
          </>
        ),
      )}
    </dl>
  );
}

export function Failure({ error, again }: { readonly error: unknown; readonly again?: () => void }) {
  const { code, message } = toMillraceError(error);
  return (
    <div class="card notice error" role="alert">
      <h2>{words.value.failed}</h2>
      <ErrorText code={code} message={message} />
      {again === undefined ? undefined : (
        <button type="button" class="plain" onClick={again}>
          {words.value.retry}
        </button>
      )}
    </div>
  );
}

/** What an error says: in another language than English, what its code means first. */
function ErrorText({ code, message }: { readonly code: string; readonly message: string }) {
  const meaning = errorText(code);
  return (
    <>
      {meaning === undefined ? undefined : <p>{meaning}</p>}
      <p class={meaning === undefined ? '' : 'quiet small'}>
        <span lang="en">{message}</span> ({code})
      </p>
    </>
  );
}

/** Loading, error and stale states of what `useLoaded` reads. */
export function Shown<T>({
  loaded,
  children,
}: {
  readonly loaded: Loaded<T>;
  readonly children: (value: T) => ComponentChildren;
}) {
  const { value, error, again } = loaded;
  if (value === undefined && error !== undefined) return <Failure error={error} again={again} />;
  if (value === undefined) return <p role="status">{words.value.loading}</p>;
  return (
    <>
      {error === undefined ? undefined : (
        <div class="card notice" role="status">
          <p>{words.value.offline}</p>
        </div>
      )}
      {children(value)}
    </>
  );
}
