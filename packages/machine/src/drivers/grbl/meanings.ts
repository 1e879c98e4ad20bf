const errors: Readonly<Record<number, string>> = {
  1: 'a word without its letter',
  2: 'a number that is missing or malformed',
  3: 'a system command that it does not have',
  4: 'a negative value where none may be',
  5: 'homing is not enabled',
  8: 'a system command in the middle of a run',
  9: 'commands are locked in the state of alarm',
  11: 'a line that is too long',
  13: 'the safety door is open',
  14: 'a stored line that is too long',
  15: 'a jog beyond the travel of the machine',
  17: 'laser mode without a PWM output',
  20: 'a code that it does not support',
  21: 'two codes of one group in a line',
  22: 'a move without a feed rate',
  23: 'a code that needs a whole number',
  24: 'two codes that both need the axes',
  25: 'a word that is repeated in a line',
  26: 'a code without the axes that it needs',
  27: 'a line number out of range',
  28: 'a code without its P or L',
  29: 'a work offset that it does not have',
  30: 'G53 without G0 or G1',
  31: 'axes without a motion',
  32: 'an arc without axes in its plane',
  33: 'an arc or a probe with an impossible target',
  34: 'an arc whose radius does not fit',
  35: 'an arc without its centre',
  36: 'words that no code uses',
  37: 'a tool length offset of another axis',
  38: 'a tool number out of range',
};

const alarms: Readonly<Record<number, string>> = {
  1: 'a limit switch was hit: the position may be lost',
  2: 'a move would leave the travel of the machine',
  3: 'it was reset in motion: the position may be lost',
  4: 'the probe was not in its initial state',
  5: 'the probe did not touch the workpiece',
  6: 'it was reset while it homed',
  7: 'the safety door was opened while it homed',
  8: 'homing failed: a limit switch stays closed',
  9: 'homing failed: no limit switch was found',
};

/** What an `error:n` of Grbl means. */
export const errorMeaning = (code: number): string => errors[code] ?? 'a reason that is not documented';

/** What an `ALARM:n` of Grbl means. */
export const alarmMeaning = (code: number): string => alarms[code] ?? 'a cause that is not documented';
