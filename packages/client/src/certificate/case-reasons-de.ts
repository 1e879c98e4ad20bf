import type { CaseReason } from '@millrace/protocol';

/** Why an object cannot be used, in German. */
export const caseReasonsGerman = {
  adhesion: 'Haftung',
  warping: 'Verzug',
  'layer-shift': 'Schichtversatz',
  extrusion: 'Extrusion',
  'wrong-material': 'falsches Material',
  dimensions: 'Maße',
  surface: 'Oberfläche',
  'machine-stopped': 'Maschine blieb stehen',
  power: 'Strom',
  network: 'Netz',
  other: 'anderer Grund',
} satisfies Record<CaseReason, string>;
