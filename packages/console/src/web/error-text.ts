import { effect, signal } from '@preact/signals';
import { language } from './words.ts';

type Texts = Readonly<Partial<Record<string, string>>>;

/** Loaded with the first page in German. */
const german = signal<Texts>();

effect(() => {
  if (language.value !== 'de' || german.peek() !== undefined) return;
  import('./errors-de.ts').then(
    ({ errorsGerman }) => {
      german.value = errorsGerman;
    },
    () => undefined, // the English text is shown
  );
});

/** What an error means, in the language of the page; undefined in English, which its own text is in. */
export function errorText(code: string | undefined): string | undefined {
  return language.value === 'de' && code !== undefined ? german.value?.[code] : undefined;
}
