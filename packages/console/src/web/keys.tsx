import { useEffect, useRef } from 'preact/hooks';
import { pageKeys } from './page-keys.ts';
import { words } from './words.ts';

/** After `g`, a letter opens a page. */
const pages: Readonly<Record<string, string>> = {
  m: 'machines',
  d: 'designs',
  l: 'licences',
  p: 'prints',
  v: 'view',
  u: 'usage',
  o: 'people',
  c: 'certificate',
  e: 'ledger',
};

/** The keyboard: `?` lists the keys. Nothing happens while somebody types. */
export function Keys() {
  const w = words.value;
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    let goes = false;
    const onKey = (event: KeyboardEvent) => {
      const { key, target, ctrlKey, metaKey, altKey } = event;
      if (ctrlKey || metaKey || altKey || isTypedInto(target)) return;
      const page = goes ? pages[key] : undefined;
      goes = key === 'g';
      if (page !== undefined) location.hash = `#/${page}`;
      else if (key === '?') dialog.current?.showModal();
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, []);
  const rows = [
    ['?', w.keysTitle],
    ['g m', w.machines],
    ['g d', w.designs],
    ['g l', w.licences],
    ['g p', w.prints],
    ['g v', w.view],
    ['g u', w.usage],
    ['g o', w.people],
    ['g c', w.certificate],
    ['g e', w.ledger],
  ] as const;
  return (
    <dialog ref={dialog} class="card" aria-labelledby="keys-title">
      <h2 id="keys-title">{w.keysTitle}</h2>
      <KeyList rows={rows} />
      {pageKeys.value === undefined ? undefined : (
        <>
          <h3>{pageKeys.value.title}</h3>
          <KeyList rows={pageKeys.value.rows} />
        </>
      )}
      <button type="button" class="plain" onClick={() => dialog.current?.close()}>
        {w.close}
      </button>
    </dialog>
  );
}

function KeyList({ rows }: { readonly rows: readonly (readonly [key: string, text: string])[] }) {
  return (
    <dl>
      {rows.map(([key, text]) => (
        <>
          <dt>
            <kbd>{key}</kbd>
          </dt>
          <dd>{text}</dd>
        </>
      ))}
    </dl>
  );
}

/** Sliders and boxes take no text. */
const withoutText = new Set(['range', 'checkbox', 'radio', 'file', 'button', 'submit']);
const isTypedInto = (target: EventTarget | null) =>
  (target instanceof HTMLInputElement && !withoutText.has(target.type)) ||
  target instanceof HTMLTextAreaElement ||
  target instanceof HTMLSelectElement;
