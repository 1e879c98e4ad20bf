import { dictionary } from './words.ts';

const en = {
  look: 'Look through the camera',
  lookAgain: 'Look for ten more minutes',
  stop: 'Stop looking',
  first: 'Waiting for the first picture…',
  seen: (age: string) => `Camera, ${age}`,
  picture: 'Picture of the machine’s camera',
  hint: 'The machine seals its pictures to this page: the cloud does not see them, and nobody keeps them.',
} as const;

const de = {
  look: 'Durch die Kamera schauen',
  lookAgain: 'Noch zehn Minuten schauen',
  stop: 'Nicht mehr schauen',
  first: 'Warten auf das erste Bild …',
  seen: (age: string) => `Kamera, ${age}`,
  picture: 'Bild der Kamera an der Maschine',
  hint: 'Die Maschine versiegelt ihre Bilder für diese Seite: die Cloud sieht sie nicht, und niemand bewahrt sie auf.',
} as const;

export const cameraWords = dictionary(en, de);
