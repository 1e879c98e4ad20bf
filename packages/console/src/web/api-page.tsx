import { consoleRoutes } from '@millrace/api';
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { type ApiRoute, type BodyShape, routesOfDocument } from './api-document.ts';
import { apiWords } from './api-words.ts';
import { useLoaded } from './loaded.ts';
import { Facts, Shown } from './parts.tsx';
import { api } from './server.ts';
import { Table } from './table.tsx';
import { formatCount } from './words.ts';

const read = async () => routesOfDocument((await api.openapi.get()) as never);

/** Documentation of the API. @param name the route that is open, such as "prints.list" */
export function ApiPage({ name }: { readonly name: string | undefined }) {
  const w = apiWords.value;
  const loaded = useLoaded('api', read);
  return (
    <>
      <h1>{w.title}</h1>
      <p>
        {w.text} {w.methodsNote} <a href={consoleRoutes.openapi.get.path}>{w.document}</a>
      </p>
      <Shown loaded={loaded}>{(routes) => <Routes key={name} routes={routes} name={name} />}</Shown>
    </>
  );
}

function Routes({ routes, name }: { readonly routes: readonly ApiRoute[]; readonly name: string | undefined }) {
  const w = apiWords.value;
  const [wanted, setWanted] = useState('');
  const found = useMemo(() => matching(routes, wanted), [routes, wanted]);
  const groups = [...new Set(found.map(({ group }) => group))];
  return (
    <>
      <div>
        <label for="find">{w.find}</label>
        <input id="find" type="text" value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
        <p class="quiet small" role="status">
          {w.shown(formatCount(found.length), formatCount(routes.length))}
        </p>
      </div>
      {groups.map((group) => (
        <section key={group}>
          <h2 lang="en">{group}</h2>
          <div class="card routes">
            {found
              .filter((route) => route.group === group)
              .map((route) => (
                <OneRoute key={route.name} route={route} open={route.name === name} />
              ))}
          </div>
        </section>
      ))}
    </>
  );
}

/** Routes whose name, path, summary, caller, scope or error has every word. */
function matching(routes: readonly ApiRoute[], wanted: string): readonly ApiRoute[] {
  const parts = wanted.toLowerCase().split(/\s+/);
  return routes.filter(({ name, method, path, summary, callers, scopes, errors }) => {
    const codes = errors.map(({ code }) => code);
    const text = [name, method, path, summary, ...callers, ...[scopes].flat(), ...codes].join(' ').toLowerCase();
    return parts.every((part) => text.includes(part));
  });
}

function OneRoute({ route, open }: { readonly route: ApiRoute; readonly open: boolean }) {
  // The details of a hundred routes are thousands of elements: they are made when they are looked at.
  const [opened, setOpened] = useState(open);
  const element = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    if (open) element.current?.scrollIntoView();
  }, [open]);
  return (
    <details
      ref={element}
      open={open}
      data-route={route.name}
      onToggle={(event) => {
        if (event.currentTarget.open) setOpened(true);
      }}
    >
      <summary>
        <span class={`method ${route.method.toLowerCase()}`}>{route.method}</span>{' '}
        <span class="mono">{route.path}</span>{' '}
        <span class="quiet route-summary" lang="en">
          {route.summary}
        </span>
      </summary>
      {opened ? <Details route={route} /> : undefined}
    </details>
  );
}

function Details({ route }: { readonly route: ApiRoute }) {
  const w = apiWords.value;
  const { name, callers, parameters, body, answer, errors, example } = route;
  return (
    <div class="route-details">
      <Facts
        rows={[
          [w.name, name, 'code'],
          [w.callers, callers.join(', '), 'en'],
          [w.scope, scopeText(route)],
        ]}
      />
      {parameters.length === 0 ? undefined : (
        <>
          <h3>{w.parameters}</h3>
          <Table
            label={w.parameters}
            columns={[w.name, w.type, w.meaning]}
            rows={parameters.map(({ name: of, in: where, required, type, description }) => [
              <span class="mono">{of}</span>,
              type,
              meaningOf(description, [w.where[where as keyof typeof w.where], required ? undefined : w.optional]),
            ])}
          />
        </>
      )}
      {body === undefined ? undefined : <Shape title={w.body} shape={body} />}
      {answer === undefined ? undefined : <Shape title={w.answer} shape={answer} />}
      {route.mayBeEmpty ? <p>{w.mayBeEmpty}</p> : undefined}
      <h3>{w.errors}</h3>
      <p class="quiet small">{w.errorsText}</p>
      <Table
        label={w.errors}
        columns={['HTTP', w.name, w.meaning]}
        rows={errors.map(({ status, code, meaning }) => [
          status,
          <span class="mono">{code}</span>,
          <span lang="en">{meaning}</span>,
        ])}
      />
      <h3>{w.example}</h3>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard */}
      <pre class="scroll" tabIndex={0}>
        {example}
      </pre>
    </div>
  );
}

/** The document's own text, which is English, and what the page says of it. */
function meaningOf(description: string | undefined, notes: readonly (string | undefined)[]) {
  const text = notes.filter((note) => note !== undefined).join(', ');
  return (
    <>
      {description === undefined ? undefined : <span lang="en">{description}</span>}
      {description !== undefined && text !== '' ? ', ' : ''}
      {text}
    </>
  );
}

function scopeText({ scopes, callers }: ApiRoute): string {
  const w = apiWords.value;
  if (callers.includes('guest')) return w.guestScope;
  if (scopes === 'any') return w.anyScope;
  return scopes === 'none' ? w.noScope : scopes.join(', ');
}

function Shape({ title, shape }: { readonly title: string; readonly shape: BodyShape }) {
  const w = apiWords.value;
  const { media, fields, type } = shape;
  return (
    <>
      <h3>
        {title} <span class="quiet small mono">{media}</span>
      </h3>
      {fields.length === 0 ? (
        <p class="mono">{type}</p>
      ) : (
        <Table
          label={title}
          columns={[w.name, w.type, w.meaning]}
          rows={fields.map(({ name, type: of, required, description }) => [
            <span class="mono">{name}</span>,
            of,
            meaningOf(description, [required ? undefined : w.optional]),
          ])}
        />
      )}
    </>
  );
}
