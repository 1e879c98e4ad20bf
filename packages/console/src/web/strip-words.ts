import { dictionary } from './words.ts';

const en = {
  check: 'Check against the ledger',
  again: 'Check again',
  checking: (done: string, of: string) => `Checking in this browser: ${done} of ${of}…`,
  checked: (size: string) => `Checked in this browser, against the ledger of ${size} entries.`,
  witnessed: (names: string) => `Its head is signed by witnesses: ${names}.`,
  unwitnessed: 'No witness has signed its head.',
  objects: (objects: string, absent: string) =>
    `Objects that hold, with all their signed documents: ${objects}. Numbers that have no object: ${absent}.`,
  unchecked: (count: string) => `Earlier objects, which are not shown here and were not checked: ${count}.`,
  failed: (numbers: string) => `Not as the ledger has it: ${numbers}. Do not rely on what is shown.`,
} as const;

const de = {
  check: 'Mit dem Register vergleichen',
  again: 'Noch einmal vergleichen',
  checking: (done: string, of: string) => `Prüfung in diesem Browser: ${done} von ${of} …`,
  checked: (size: string) => `In diesem Browser geprüft, gegen das Register mit ${size} Einträgen.`,
  witnessed: (names: string) => `Seinen Kopf haben Zeugen unterschrieben: ${names}.`,
  unwitnessed: 'Seinen Kopf hat kein Zeuge unterschrieben.',
  objects: (objects: string, absent: string) =>
    `Objekte, die stimmen, mit allen unterschriebenen Dokumenten: ${objects}. Nummern ohne Objekt: ${absent}.`,
  unchecked: (count: string) => `Frühere Objekte, die hier nicht zu sehen sind und nicht geprüft wurden: ${count}.`,
  failed: (numbers: string) => `Anders als im Register: ${numbers}. Verlassen Sie sich nicht auf das Gezeigte.`,
} as const;

export const stripWords = dictionary(en, de);
