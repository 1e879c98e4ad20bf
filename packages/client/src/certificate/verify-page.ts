/// <reference lib="dom" />
import { fromHex, toMillraceError } from '@millrace/base';
import { type CertificateSummary, checkCertificate } from '../certificates.ts';
import { type PageParts, type PageTrust, parsePageParts } from './page.ts';

// Runs in a certificate's page: verifies the embedded certificate and shows the result. It makes no request.

type Child = Node | string | undefined;

/** Creates an element. Text is set as text, never as HTML, because certificates are untrusted. */
function element(name: string, attributes: Readonly<Record<string, string>> = {}, ...children: readonly Child[]) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

const card = (title: string, kind: string, ...children: readonly Child[]) =>
  element('section', { class: `card ${kind}` }, element('h2', {}, title), ...children);

function verdict(kind: 'good' | 'bad' | 'open', mark: string, title: string, text: string): HTMLElement {
  return element(
    'section',
    { class: `card verdict ${kind}`, role: 'status', id: 'verdict', 'data-verdict': kind },
    element('div', { class: 'mark', 'aria-hidden': 'true' }, mark),
    element(
      'div',
      {},
      element('p', { class: 'brand' }, 'Millrace certificate'),
      element('h1', {}, title),
      element('p', {}, text),
    ),
  );
}

function fields(rows: readonly (readonly [string, string | undefined])[]): HTMLElement {
  const shown = rows.filter((row): row is readonly [string, string] => row[1] !== undefined);
  return element(
    'dl',
    {},
    ...shown.flatMap(([name, value]) => [
      element('dt', {}, name),
      element('dd', { class: /[0-9a-f]{24}/.test(value) ? 'mono' : '' }, value),
    ]),
  );
}

/** "log: every entry is …" with its topic in bold. */
function statements(mark: string, lines: readonly string[]): HTMLElement {
  return element(
    'ul',
    {},
    ...lines.map((line) => {
      const [, topic, rest] = /^([a-z ]{3,20}): (.*)$/s.exec(line) ?? [];
      const text = topic === undefined ? [line] : [element('b', {}, `${topic}: `), rest];
      return element('li', {}, element('span', { 'aria-hidden': 'true' }, mark), element('span', {}, ...text));
    }),
  );
}

function events(summary: CertificateSummary): HTMLElement {
  return element(
    'ol',
    {},
    ...summary.events.map(({ type, time }, at) =>
      element(
        'li',
        {},
        element('span', { class: 'quiet' }, String(at + 1)),
        element('b', {}, type),
        element('time', { datetime: time, class: 'quiet' }, `${time.slice(0, 10)} ${time.slice(11, 19)} UTC`),
      ),
    ),
  );
}

function found(summary: CertificateSummary, own: boolean): HTMLElement[] {
  const { made, life } = summary;
  const whose = own ? 'the keys that you gave' : 'the keys in this page: compare them below';
  const code = (document.getElementById('code') as HTMLTemplateElement).content.cloneNode(true);
  return [
    made
      ? verdict(
          'good',
          '✓',
          life.retired === undefined ? 'Genuine' : `Genuine, and retired: ${life.retired.reason}`,
          `The object was made as its owner licensed it. Verified just now on this computer, with ${whose}.`,
        )
      : verdict(
          'open',
          '…',
          `Genuine, but not completed: ${summary.state}`,
          `Verified just now on this computer, with ${whose}.`,
        ),
    element(
      'section',
      { class: 'card facts' },
      fields([
        ['Object', summary.object],
        ['State', summary.state],
        ['Owner of the part', life.owner],
        ['Number', `${summary.number} of ${summary.of}`],
        ['Machine', summary.machine?.serial],
        ['Material', summary.material],
        ['Design', summary.design],
        ['Licence', summary.licence],
        ['Signatures', `${summary.signatures} verified`],
      ]),
      code,
    ),
    card('What is proven, and by whom', 'proven', statements('✓', summary.checked)),
    card('What is not proven', 'unproven', statements('?', summary.unchecked)),
    card('What happened', 'events', events(summary)),
  ];
}

/** Shows the keys, and a form to verify with others. */
function keys(trust: PageTrust, verify: (trust: PageTrust) => void): HTMLElement {
  const area = (id: string, value: string) => {
    const made = element('textarea', {
      id,
      rows: '2',
      spellcheck: 'false',
      autocomplete: 'off',
    }) as HTMLTextAreaElement;
    made.value = value;
    return made;
  };
  const [log, authority] = [area('log', trust.logKeys.join('\n')), area('authority', trust.authority)];
  const button = element('button', { type: 'button' }, 'Verify with these keys');
  button.addEventListener('click', () =>
    verify({
      ...trust,
      logKeys: log.value.split(/\s+/).filter((key) => key !== ''),
      authority: authority.value.trim(),
    }),
  );
  return card(
    'Whose word this is',
    '',
    element(
      'p',
      {},
      'Whoever made this page chose these keys, and could have changed the page as well. Compare the keys with those that the manufacturer publishes elsewhere. Verify a page from somebody whom you do not trust with a program of your own: ',
      element('code', {}, 'millrace certificate verify'),
      ' reads this file.',
    ),
    element('label', { for: 'log' }, 'Key of the log'),
    log,
    element('label', { for: 'authority' }, 'Key of the administrator, who registers owners, machines and permit keys'),
    authority,
    button,
  );
}

async function show(page: HTMLElement, parts: PageParts, trust: PageTrust): Promise<void> {
  let content: HTMLElement[];
  try {
    const summary = await checkCertificate(parts.certificate, {
      logKey: trust.logKeys,
      authority: fromHex(trust.authority),
      witnesses: trust.witnesses,
    });
    content = found(summary, trust !== parts.trust);
  } catch (error) {
    const { code, message } = toMillraceError(error);
    const text = `${message}. Do not trust the object. (${code})`;
    content = [verdict('bad', '✕', 'Not genuine', text)];
  }
  page.replaceChildren(
    ...content,
    keys(trust, (given) => void show(page, parts, given)),
  );
}

async function main(): Promise<void> {
  const page = document.getElementById('page') as HTMLElement;
  try {
    const parts = parsePageParts(document.getElementById('certificate')?.textContent ?? '');
    await show(page, parts, parts.trust);
  } catch (error) {
    const { code, message } = toMillraceError(error);
    page.replaceChildren(verdict('bad', '✕', 'Not genuine', `${message}. (${code})`));
  }
}

void main();
