import { dictionary } from './words.ts';

const en = {
  title: 'Sign in with your company',
  text: 'Your company’s own sign-in lets you read. To sign, this browser makes a key that your company vouches for.',
  keyText:
    'You are signed in by your company, to read. To sign, this browser makes a key that your company vouches for: it counts for some days, and is renewed in the same way.',
  companyText: 'Text from your company (millrace org sign-in)',
  read: 'Sign in to read',
  makeKey: 'Make a key to sign with',
  renew: 'Renew this browser’s key',
  thisBrowser: 'browser',
  otherKey: 'This browser has a key already. Forget it first, below, if you want another one.',
  confirmTitle: 'Is this your company?',
  confirmText: (organisation: string) =>
    `${organisation} has its people sign in at the address below. Type your password there only if you know it.`,
  goThere: 'Go there',
  noOrganisation: 'the text names no organisation: use that of millrace org sign-in',
  otherInstallation: 'the text belongs to another server',
  noPending: 'this tab has begun no key: begin again',
  finishTitle: 'Your company vouches for this browser’s key',
  finishPasskey: 'Use the passkey once more: the key signs its enrolment.',
  finishPassphrase: 'Type the passphrase once more: the key signs its enrolment.',
  finish: 'Finish',
};

const de: typeof en = {
  title: 'Mit Ihrem Unternehmen anmelden',
  text: 'Mit der Anmeldung Ihres Unternehmens können Sie lesen. Zum Signieren macht dieser Browser einen Schlüssel, für den Ihr Unternehmen bürgt.',
  keyText:
    'Ihr Unternehmen hat Sie angemeldet, zum Lesen. Zum Signieren macht dieser Browser einen Schlüssel, für den Ihr Unternehmen bürgt: er gilt einige Tage und wird auf dieselbe Weise erneuert.',
  companyText: 'Text Ihres Unternehmens (millrace org sign-in)',
  read: 'Zum Lesen anmelden',
  makeKey: 'Schlüssel zum Signieren machen',
  renew: 'Schlüssel dieses Browsers erneuern',
  thisBrowser: 'Browser',
  otherKey:
    'Dieser Browser hat schon einen Schlüssel. Vergessen Sie ihn zuerst, unten, wenn Sie einen anderen möchten.',
  confirmTitle: 'Ist das Ihr Unternehmen?',
  confirmText: (organisation: string) =>
    `${organisation} meldet seine Leute unter der folgenden Adresse an. Geben Sie Ihr Passwort dort nur ein, wenn Sie sie kennen.`,
  goThere: 'Dorthin',
  noOrganisation: 'der Text nennt keine Organisation: nehmen Sie den von millrace org sign-in',
  otherInstallation: 'der Text gehört zu einem anderen Server',
  noPending: 'in diesem Tab wurde kein Schlüssel begonnen: beginnen Sie noch einmal',
  finishTitle: 'Ihr Unternehmen bürgt für den Schlüssel dieses Browsers',
  finishPasskey: 'Verwenden Sie den Passkey noch einmal: der Schlüssel signiert seine Anmeldung.',
  finishPassphrase: 'Geben Sie die Passphrase noch einmal ein: der Schlüssel signiert seine Anmeldung.',
  finish: 'Fertig',
};

export const companyWords = dictionary(en, de);
