import { caseReasonsGerman } from './case-reasons-de.ts';
import type { VerdictWords } from './verdict-words.ts';

const tokenKind = (hardware: boolean) => (hardware ? 'Hardware-Token' : 'Software-Token');
const groupKind = { group: 'Gruppe', site: 'Standort' } as const;
const withArticle = { group: 'der Gruppe', site: 'dem Standort' } as const;

/** Events and states of objects, reasons of failures and retirements. */
const terms: ReadonlyMap<string, string> = new Map(
  Object.entries({
    ordered: 'bestellt',
    licensed: 'lizenziert',
    permitted: 'freigegeben',
    started: 'begonnen',
    progressed: 'fortgeschritten',
    alarmed: 'Alarm',
    completed: 'fertiggestellt',
    failed: 'misslungen',
    credited: 'gutgeschrieben',
    inspected: 'geprüft',
    transferred: 'übergeben',
    retired: 'ausgemustert',
    stored: 'gespeichert',
    machine: 'Maschine',
    material: 'Material',
    mapped: 'kartiert',
    open: 'offen',
    ...caseReasonsGerman,
    worn: 'verschlissen',
    scrapped: 'verschrottet',
    recycled: 'wiederverwertet',
    lost: 'verloren',
    recalled: 'zurückgerufen',
  }),
);

/** The sentences of a certificate's verdict, in German. */
export const verdictGerman: VerdictWords = {
  term: (word) => terms.get(word) ?? word,
  passed: (passed) => (passed ? 'bestanden' : 'nicht bestanden'),
  joined: (items) => items.join(' und '),
  inTurn: (items) => items.join(', dann '),
  personOf: (person, organisation) => `${person} von ${organisation}`,
  organisation: (organisation) => `Organisation ${organisation}`,

  log: (log, size) =>
    `Register: Jeder Eintrag steht in ${log} (${size} Einträge), vom Schlüssel des Registers unterschrieben`,
  witness: (name, time) => `Zeuge: ${name} kannte am ${time} keine andere Geschichte des Registers`,
  complete: (size) =>
    `Vollständig: Objekt, Lizenz und Maschine haben kein anderes Ereignis unter den ersten ${size} Einträgen, nach der Karte der Konten, deren Wurzel im Register steht`,
  owner: (key, byWhom) => `Eigentümer: ${key}: ${byWhom}`,
  keyThatYouNamed: 'der Schlüssel, den Sie genannt haben',
  registeredAs: (name) => `als ${name} eingetragen vom Verwalter, den Sie genannt haben`,
  rolesProven: (name, roles, organisation) =>
    `${name}, ${roles} von ${organisation}, bewiesen durch den Verwalter, den Sie genannt haben`,
  licence: (licence, objects, design) =>
    `Lizenz: ${licence} für ${objects} Objekte des Entwurfs ${design}, vom Eigentümer unterschrieben`,
  signedBy: (sentence, who) => `${sentence}: ${who}`,
  approvals: (who, needed) =>
    `Zustimmungen: ${who}; der Entwurf verlangt ${needed}, alle haben die Lizenz unterschrieben`,
  holders: (holders) => `Inhaber: ${holders}; jede Übertragung ist für den vorigen unterschrieben`,
  order: (print, number, of, holder) =>
    `Auftrag: Druck ${print}, Objekt ${number} von ${of}, unterschrieben für den Inhaber (${holder}), den die Lizenz nennt`,
  orderedBy: (sentence, who) => `${sentence}, von ${who}`,
  machine: (serial, machine) => `Maschine: ${serial} (${machine}), von der Lizenz mit ihrem Schlüssel genannt`,
  machineOfGroup: (serial, machine) => `Maschine: ${serial} (${machine}), Mitglied einer Gruppe der Lizenz`,
  registeredByAdministrator: (sentence) => `${sentence}, vom Verwalter eingetragen`,
  registeredByCloud: (sentence, cloud, installation) =>
    `${sentence}, eingetragen vom Verwalter der Cloud ${cloud} (${installation})`,
  cloudRecognised: (sentence) => `${sentence}, die Ihr Verwalter anerkennt`,
  machineKey: (where) => `Maschinenschlüssel: ${where}, so wie er eingetragen ist`,
  inFile: 'in einer Datei',
  inToken: (hardware, token) => `in einem ${tokenKind(hardware)} (${token})`,
  group: (kind, name, group, who, day, organisation) =>
    `${groupKind[kind]}: ${name} (${group}): ${who} hat am ${day} erklärt, dass die Maschine dazugehört; der Verwalter hat die Maschine ${organisation} zugeordnet`,
  permit: 'Freigabe: von der Maschine für diesen Auftrag erbeten',
  permitRegistered:
    'Freigabe: von der Maschine für diesen Auftrag erbeten, gegeben mit dem Schlüssel, den der Verwalter für Freigaben eingetragen hat',
  material: (supplier, id, serial, name, batch, day, person) =>
    `Material: ${supplier} (${id}) hat die Spule ${serial} als ${name} zertifiziert, Charge ${batch}, zu verbrauchen bis ${day}; unterschrieben von ${person}`,
  loaded: (who, key, day) =>
    `Eingelegt: ${who} (${key}) hat am ${day} erklärt, dass diese Spule in der Maschine eingelegt ist`,
  uncertified: (sentence, name) => `${sentence}: ${name}, von niemandem zertifiziert`,
  visit:
    'Besuch: vom Inhaber in der Cloud der Maschine bestellt, die der Maschine für diesen Druck und Lauf ein Visum gab',
  reports: (events) => `Berichte: ${events}, von der Maschine für dieses Objekt und diesen Lauf unterschrieben`,
  madeBefore:
    'Schon gefertigt: Die Maschine erklärt, dass sie dieses Objekt bereits in einem anderen Lauf gefertigt hat',
  bytes:
    'Bytes: Die Maschine hat genau die ausgeführt, die der Eigentümer unterschrieben hat, nach dem MAC in ihrem Bericht',
  licenceRevoked: 'Lizenz heute: widerrufen, nachdem dieses Objekt bestellt war, vom Eigentümer unterschrieben',
  licenceSuspended: 'Lizenz heute: ausgesetzt, nachdem dieses Objekt bestellt war, vom Eigentümer unterschrieben',
  licenceReinstated: 'Lizenz heute: einmal ausgesetzt und wieder eingesetzt, vom Eigentümer unterschrieben',
  alarmCleared: 'Alarm: vom Eigentümer aufgehoben',
  credit: 'Gutschrift: anstelle eines misslungenen Objekts gefertigt, mit der Unterschrift des Eigentümers',
  failureByPolicy: 'Fehler: nach der Regel der Lizenz gutgeschrieben, wegen des unterschriebenen Berichts der Maschine',
  failure: (reason) => `Fehler: ${reason}, vom Inhaber unterschrieben`,
  failureDecided: (sentence, credited) =>
    `${sentence}; ${credited ? 'gutgeschrieben' : 'nicht gutgeschrieben'}, vom Eigentümer unterschrieben`,
  transfer: (day, from, to, by, taker) =>
    `Übergabe: am ${day} von ${from} an ${to}, angeboten von ${by} und angenommen von ${taker}, beide unterschrieben`,
  inspection: (result, day, by, byOwner) =>
    `Prüfung: ${result} am ${day}, unterschrieben von ${by}, ${byOwner ? 'dem Eigentümer des Teils' : 'vom Eigentümer des Teils als Prüfer benannt'}`,
  inspectionReport: (sentence, hash) => `${sentence}; Bericht mit SHA-256 ${hash}`,
  retired: (reason, day, by) =>
    `Ausgemustert: ${reason}, am ${day}, unterschrieben von ${by} für den Eigentümer des Teils`,
  partOwner: (owner, byTransfer) =>
    `Eigentümer des Teils: ${owner}: ${byTransfer ? 'durch die letzte Übergabe' : 'der Inhaber der Lizenz, der es bestellt hat'}`,

  openLastEvents:
    'ob die letzten Ereignisse weggelassen sind: Das Zertifikat hat keinen Beweis aus der Karte der Konten',
  openMap: 'die Karte der Konten selbst: Wer alle Einträge lesen darf, rechnet sie nach (millrace ledger verify)',
  openLater: 'ob nach diesen Einträgen noch etwas geschah: Fragen Sie das Register nach dem neuesten Zertifikat',
  openTimes: 'wann es geschah: Die Zeiten sind die des Registers',
  openWitness: 'ob das Register allen dasselbe zeigt: Kein Zeuge, den Sie genannt haben, hat unterschrieben',
  openKeyInFile:
    'dass nur diese Maschine ihren Schlüssel hat: Er ist in einer Datei, und wer die Datei gelesen hat, kann als die Maschine unterschreiben',
  openKeyInSoftware:
    'dass nur diese Maschine ihren Schlüssel hat: Ein Software-Token hält ihn in Dateien, und wer die Dateien und die PIN hat, kann als die Maschine unterschreiben',
  openKeyInHardware:
    'dass nur diese Maschine ihren Schlüssel hat: Wer die Maschine eingetragen hat, erklärt, dass ein Hardware-Token ihn gemacht hat und hält; kein Hersteller bestätigt das',
  openMade: 'was gefertigt wurde, über das hinaus, was die Maschine von sich sagt',
  openMaterial: 'das Material: Es ist das, was die Maschine sagt',
  openSupplier:
    'das Material: Nur der Schlüssel des Verwalters bestätigt, wer die Spule zertifiziert und wer sie eingelegt hat',
  openSpool:
    'ob das Teil von dieser Spule ist: Ein Bediener hat es gesagt, und eine Maschine unterscheidet Kunststoffe nicht',
  openPermit:
    'wessen Schlüssel die Freigabe unterschrieben hat: Nur der Schlüssel des Verwalters bestätigt es, und Sie haben keinen genannt',
  openName: 'der Name des Eigentümers: Nur der Verwalter steht dafür ein',
  openGroup: (kind) =>
    `ob die Organisation die Maschine vorher aus ${withArticle[kind]} genommen hatte: Schlüssel- und Segmentknoten vergleichen ihre Erklärungen`,
  openCopy: 'ob ein Teil in Ihrer Hand dieses Objekt ist: Etikett und Zertifikat kann man kopieren',
  openInspections: 'was die Prüfungen ergaben: Unterschrieben sind nur Ergebnisse und Hashes ihrer Berichte',
  openGaps: (gaps) =>
    `warum der Zähler der Maschine Lücken hatte: Das Register meldet ${gaps}, die andere Objekte betreffen können`,
  openNoAlarm: 'dass es keinen Alarm gab: Knoten unterschreiben Alarme nicht, also könnte das Register einen weglassen',
  openAlarm: 'der Alarm: Knoten unterschreiben ihn nicht, also behauptet ihn nur das Register',
};
