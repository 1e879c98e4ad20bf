import { useState } from 'preact/hooks';
import { peopleWords } from './people-words.ts';

/** A text that nobody can show again, with a button that copies it. */
export function ShownOnce({ label, text }: { readonly label: string; readonly text: string }) {
  const w = peopleWords.value;
  const [copied, setCopied] = useState(false);
  const id = `once-${label.replaceAll(' ', '-')}`;
  return (
    <div>
      <label for={id}>{label}</label>
      <textarea id={id} rows={3} readOnly spellcheck={false} value={text} />
      <button
        type="button"
        class="plain small"
        onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))}
      >
        {copied ? w.copied : w.copy}
      </button>
    </div>
  );
}
