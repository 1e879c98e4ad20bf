// The sentences of a certificate's verdict, in English. The other languages have exactly these keys.

/** Values are shown as they are: names, identifiers, days (YYYY-MM-DD) and times (ISO 8601). */
export const verdictEnglish = {
  /** A word of the ledger or of a signed document: an event, a state, a reason. */
  term: (word: string) => word,
  passed: (passed: boolean): string => (passed ? 'passed' : 'failed'),
  /** Roles of a person. */
  joined: (items: readonly string[]) => items.join(' and '),
  /** Holders, the first one first. */
  inTurn: (items: readonly string[]) => items.join(', then '),
  personOf: (person: string, organisation: string) => `${person} of ${organisation}`,
  organisation: (organisation: string) => `organisation ${organisation}`,

  log: (log: string, size: string) => `log: every entry is in ${log} (${size} entries), signed by the log’s key`,
  witness: (name: string, time: string) => `witness: ${name} had seen no other history of the log on ${time}`,
  complete: (size: string) =>
    `complete: object, licence and machine have no other event among the first ${size} entries, by the map of accounts whose root is in the log`,
  owner: (key: string, byWhom: string) => `owner: ${key}: ${byWhom}`,
  keyThatYouNamed: 'the key that you named',
  registeredAs: (name: string) => `registered as ${name} by the administrator whom you named`,
  rolesProven: (name: string, roles: string, organisation: string) =>
    `${name}, ${roles} of ${organisation}, proven by the administrator whom you named`,
  licence: (licence: string, objects: string, design: string) =>
    `licence: ${licence} for ${objects} objects of design ${design}, signed by the owner`,
  signedBy: (sentence: string, who: string) => `${sentence}: ${who}`,
  approvals: (who: string, needed: string) =>
    `approvals: ${who}; the design asks for ${needed}, all signed the licence`,
  holders: (holders: string) => `holders: ${holders}; each transfer is signed for the former`,
  order: (print: string, number: string, of: string, holder: string) =>
    `order: print ${print}, object ${number} of ${of}, signed for the holder (${holder}) whom the licence names`,
  orderedBy: (sentence: string, who: string) => `${sentence}, by ${who}`,
  machine: (serial: string, machine: string) => `machine: ${serial} (${machine}), named by the licence with its key`,
  machineOfGroup: (serial: string, machine: string) =>
    `machine: ${serial} (${machine}), a member of a group of the licence`,
  registeredByAdministrator: (sentence: string) => `${sentence}, registered by the administrator`,
  registeredByCloud: (sentence: string, cloud: string, installation: string) =>
    `${sentence}, registered by the administrator of the cloud ${cloud} (${installation})`,
  cloudRecognised: (sentence: string) => `${sentence}, which the administrator recognises`,
  machineKey: (where: string) => `machine’s key: ${where}, as it is registered`,
  inFile: 'in a file',
  inToken: (hardware: boolean, token: string) => `in a ${hardware ? 'hardware' : 'software'} token (${token})`,
  group: (kind: 'group' | 'site', name: string, group: string, who: string, day: string, organisation: string) =>
    `${kind}: ${name} (${group}): ${who} stated on ${day} that the machine is in it; the administrator assigned the machine to ${organisation}`,
  permit: 'permit: asked for by the machine for this order',
  permitRegistered:
    'permit: asked for by the machine for this order, given by the key that the administrator registered for permits',
  material: (supplier: string, id: string, serial: string, name: string, batch: string, day: string, person: string) =>
    `material: ${supplier} (${id}) certified spool ${serial} as ${name}, batch ${batch}, to be used by ${day}; signed by ${person}`,
  loaded: (who: string, key: string, day: string) =>
    `loaded: ${who} (${key}) stated on ${day} that this spool is loaded on the machine`,
  uncertified: (sentence: string, name: string) => `${sentence}: ${name}, which nobody certifies`,
  visit: 'visit: requested by the holder at the machine’s cloud, which gave the machine a visa for this print and run',
  reports: (events: string) => `reports: ${events}, signed by the machine for this object and run`,
  madeBefore: 'made before: the machine states that it had made this object already, in another run',
  bytes: 'bytes: the machine executed exactly those that the owner signed, by the MAC in its report',
  licenceRevoked: 'licence today: revoked after this object was ordered, signed by the owner',
  licenceSuspended: 'licence today: suspended after this object was ordered, signed by the owner',
  licenceReinstated: 'licence today: suspended once, and reinstated, signed by the owner',
  alarmCleared: 'alarm: cleared by the owner',
  credit: 'credit: made in place of a failed object, by the owner’s signature',
  failureByPolicy: 'failure: credited by the policy of the licence, for the machine’s signed report',
  failure: (reason: string) => `failure: ${reason}, signed by the holder`,
  failureDecided: (sentence: string, credited: boolean) =>
    `${sentence}; ${credited ? 'credited' : 'credit denied'}, signed by the owner`,
  transfer: (day: string, from: string, to: string, by: string, taker: string) =>
    `transfer: on ${day} from ${from} to ${to}, offered by ${by} and accepted by ${taker}, both signed`,
  inspection: (result: string, day: string, by: string, byOwner: boolean) =>
    `inspection: ${result} on ${day}, signed by ${by}, ${byOwner ? 'the part’s owner' : 'whom the part’s owner had named as an inspector'}`,
  inspectionReport: (sentence: string, hash: string) => `${sentence}; report with SHA-256 ${hash}`,
  retired: (reason: string, day: string, by: string) =>
    `retired: ${reason}, on ${day}, signed by ${by} for the part’s owner`,
  partOwner: (owner: string, byTransfer: boolean) =>
    `owner of the part: ${owner}: ${byTransfer ? 'by the last transfer' : 'the licence’s holder, who ordered it'}`,

  openLastEvents: 'whether the last events were left out: the certificate has no proof from the map of accounts',
  openMap: 'the map of accounts itself: whoever may read all entries recomputes it (millrace ledger verify)',
  openLater: 'whether anything happened after these entries: ask the log for the newest certificate',
  openTimes: 'when it happened: the times are the log’s',
  openWitness: 'whether the log shows everybody the same: no witness that you named has signed',
  openKeyInFile:
    'that only this machine has its key: the key is in a file, and whoever read the file can sign as the machine',
  openKeyInSoftware:
    'that only this machine has its key: a software token keeps it in files, and whoever has the files and the PIN can sign as the machine',
  openKeyInHardware:
    'that only this machine has its key: whoever registered the machine states that a hardware token made and holds it; no manufacturer attests it',
  openMade: 'what was made, beyond what the machine says of itself',
  openMaterial: 'the material: it is what the machine says',
  openSupplier: 'the material: only the administrator’s key confirms who certified and who loaded the spool',
  openSpool:
    'whether the part is of that spool: an operator said so, and a machine cannot tell one plastic from another',
  openPermit: 'whose key signed the permit: only the administrator’s key confirms it, and you named none',
  openName: 'the owner’s name: only the administrator vouches for it',
  openGroup: (kind: 'group' | 'site') =>
    `whether the organisation had removed the machine from the ${kind} before: keys and segments nodes compare its statements`,
  openCopy: 'whether a part in your hands is this object: a label and a certificate can be copied',
  openInspections: 'what the inspections found: only the results and the hashes of their reports are signed',
  openGaps: (gaps: string) =>
    `why the odometer of the machine had gaps: the log reports ${gaps}, which may concern other objects`,
  openNoAlarm: 'that there was no alarm: nodes do not sign alarms, so the log could leave one out',
  openAlarm: 'the alarm: nodes do not sign it, so only the log asserts it',
};

export type VerdictWords = typeof verdictEnglish;
