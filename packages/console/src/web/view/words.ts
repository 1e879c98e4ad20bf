import { computed } from '@preact/signals';
import { type Language, language } from '../words.ts';
import { de } from './words-de.ts';
import { en, type ViewWords } from './words-en.ts';

const dictionaries: Readonly<Record<Language, ViewWords>> = { en, de };

/** Texts of the viewer, which are loaded with it. */
export const viewWords = computed(() => dictionaries[language.value]);
