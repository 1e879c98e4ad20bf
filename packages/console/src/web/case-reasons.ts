import { caseReasonsGerman } from '@millrace/client';
import type { CaseReason } from '@millrace/protocol';
import { dictionary } from './words.ts';

const en = {
  adhesion: 'adhesion',
  warping: 'warping',
  'layer-shift': 'layer shift',
  extrusion: 'extrusion',
  'wrong-material': 'wrong material',
  dimensions: 'dimensions',
  surface: 'surface',
  'machine-stopped': 'machine stopped',
  power: 'power',
  network: 'network',
  other: 'other',
} satisfies Record<CaseReason, string>;

/** Why an object cannot be used, as its holder reports it. */
export const reasonNames = dictionary(en, caseReasonsGerman);
