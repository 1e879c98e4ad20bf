import { dictionary } from './words.ts';

/** Texts for people who stand beside machines. */
const en = {
  commands: { pause: 'Pause', resume: 'Resume', cancel: 'Hold to end the print', stop: 'Emergency stop' },
  sending: 'Waiting for the machine…',
  holdHint: 'Press for more than a second, then release. The object is used.',
  holdOn: 'Release after a second to end the print',
  paused: 'paused',
  pausedBy: 'Paused by',
  cause: 'Cause',
  nextStep: 'Next',
  actors: {
    agent: 'the agent',
    operator: 'the operator',
    owner: 'the owner of the design',
    controller: 'the machine’s controller',
    person: 'a person at the machine',
  },
} as const;

const de = {
  commands: { pause: 'Anhalten', resume: 'Fortsetzen', cancel: 'Zum Beenden gedrückt halten', stop: 'Not-Halt' },
  sending: 'Warten auf die Maschine …',
  holdHint: 'Länger als eine Sekunde drücken, dann loslassen. Das Objekt ist verbraucht.',
  holdOn: 'Nach einer Sekunde loslassen, um den Druck zu beenden',
  paused: 'angehalten',
  pausedBy: 'Angehalten von',
  cause: 'Ursache',
  nextStep: 'Weiter',
  actors: {
    agent: 'dem Agenten',
    operator: 'der Bedienung',
    owner: 'der Eigentümerin des Entwurfs',
    controller: 'der Steuerung der Maschine',
    person: 'jemandem an der Maschine',
  },
} as const;

export const operatorWords = dictionary(en, de);
