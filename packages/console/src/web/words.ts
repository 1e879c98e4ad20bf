import { computed, effect, type ReadonlySignal, signal } from '@preact/signals';
import { de } from './words-de.ts';
import { en, type Translated, type Words } from './words-en.ts';

export const languages = { en: 'English', de: 'Deutsch' } as const;
export type Language = keyof typeof languages;

const dictionaries: Readonly<Record<Language, Words>> = { en, de };
const KEY = 'millrace.language';

const isLanguage = (text: string | null): text is Language => text !== null && Object.hasOwn(languages, text);

/** The language that the person chose, or the first of the browser's languages that we have. */
function firstLanguage(): Language {
  const chosen = localStorage.getItem(KEY);
  if (isLanguage(chosen)) return chosen;
  return navigator.languages.map((tag) => tag.slice(0, 2)).find(isLanguage) ?? 'en';
}

export const language = signal<Language>(firstLanguage());
export const words = computed(() => dictionaries[language.value]);

/** Texts of one page, which are loaded with it. */
export function dictionary<T>(english: T, german: Translated<T>): ReadonlySignal<Translated<T>> {
  const both: Readonly<Record<Language, Translated<T>>> = { en: english as Translated<T>, de: german };
  return computed(() => both[language.value]);
}

export function chooseLanguage(text: string): void {
  if (!isLanguage(text)) return;
  localStorage.setItem(KEY, text);
  language.value = text;
}

effect(() => {
  document.documentElement.lang = language.value;
});

/** The browser's variant of the language, so that a Briton gets British dates. */
const locale = computed(() => navigator.languages.find((tag) => tag.startsWith(language.value)) ?? language.value);

export const formatCount = (value: number) => new Intl.NumberFormat(locale.value).format(value);
export const formatTime = (value: number | string) =>
  new Intl.DateTimeFormat(locale.value, { dateStyle: 'medium', timeStyle: 'medium' }).format(new Date(value));
export const formatDay = (value: number) =>
  new Intl.DateTimeFormat(locale.value, { dateStyle: 'medium' }).format(new Date(value));
export function formatSeconds(seconds: number): string {
  const unit = (value: number, name: 'second' | 'minute' | 'hour') =>
    new Intl.NumberFormat(locale.value, { style: 'unit', unit: name, maximumFractionDigits: 0 }).format(value);
  if (seconds < 120) return unit(seconds, 'second');
  return seconds < 7_200 ? unit(seconds / 60, 'minute') : unit(seconds / 3_600, 'hour');
}
/** @param bytes shown in the largest decimal unit that gives at least 1 */
export function formatBytes(bytes: number): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'] as const;
  const step = Math.min(3, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  const options = { style: 'unit', unit: units[step], unitDisplay: step === 0 ? 'long' : 'short' } as const;
  return new Intl.NumberFormat(locale.value, { ...options, maximumFractionDigits: 1 }).format(bytes / 1_000 ** step);
}
export const formatTemperature = (celsius: number) =>
  new Intl.NumberFormat(locale.value, { style: 'unit', unit: 'celsius' }).format(celsius);

export const formatMillimetres = (mm: number) =>
  new Intl.NumberFormat(locale.value, { style: 'unit', unit: 'millimeter', maximumFractionDigits: 2 }).format(mm);

/** @param amount in minor units of the currency */
export function formatMoney(amount: number, currency: string): string {
  const format = new Intl.NumberFormat(locale.value, { style: 'currency', currency });
  return format.format(amount / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2));
}
