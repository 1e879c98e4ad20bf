import { dictionary } from '../words.ts';

/** Texts about the plates of a sliced project. */
const en = {
  choose: (file: string) => `Plates of ${file}`,
  chooseText: 'Each plate is a design of its own: the G-code in it is sealed, not the project.',
  plate: (number: string, size: string) => `Plate ${number} (${size})`,
  reading: 'Reading the file …',
  unpacking: (done: string, total: string) => `Unpacking in this browser: ${done} of ${total}`,
  other: 'Another file',
};

export const plateWords = dictionary(en, {
  choose: (file) => `Platten in ${file}`,
  chooseText: 'Jede Platte ist ein eigener Entwurf: Versiegelt wird ihr G-Code, nicht das Projekt.',
  plate: (number, size) => `Platte ${number} (${size})`,
  reading: 'Die Datei wird gelesen …',
  unpacking: (done, total) => `Wird in diesem Browser entpackt: ${done} von ${total}`,
  other: 'Andere Datei',
});
