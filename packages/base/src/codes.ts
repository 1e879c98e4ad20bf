/** How an error code shows outside: HTTP status, exit code of the CLI, whether trying again can help. */
export interface CodeMeaning {
  readonly http: number;
  /** 1 internal, 2 wrong input, 3 refused, 4 not found, 5 unavailable, 6 integrity, 7 alarm. */
  readonly exit: number;
  readonly retryable: boolean;
  readonly meaning: string;
  readonly remedy: string;
}

function code(http: number, exit: number, retryable: boolean, meaning: string, remedy: string): CodeMeaning {
  return { http, exit, retryable, meaning, remedy };
}

/** Every coded error of Millrace, documented once. docs/errors.md is generated from this table. */
export const errorCodes = {
  // General
  E_INTERNAL: code(500, 1, false, 'A fault in Millrace itself.', 'Read the log of the node; report it with the log.'),
  E_INPUT: code(
    400,
    2,
    false,
    'A field is unknown, missing or of the wrong type.',
    'Correct the input; the message names the field.',
  ),
  E_CONFIG: code(
    500,
    2,
    false,
    'The installation or its configuration is not usable.',
    'Run `millrace init`, or correct the named file.',
  ),
  E_DIRECTORY: code(
    500,
    6,
    false,
    'The directory is not signed by the administrator, or is older than one that was seen before.',
    'Copy the newest directory.json of the installation into the folder; read docs/runbooks/rotate.md.',
  ),
  E_NOT_FOUND: code(404, 4, false, 'The named thing does not exist here.', 'Check the name or identifier.'),
  E_CONFLICT: code(
    409,
    3,
    false,
    'It exists already, or was changed by somebody else.',
    'Read the current state and try again.',
  ),
  E_UNAVAILABLE: code(
    503,
    5,
    true,
    'A node, or another computer, does not answer.',
    'Check the address; see `millrace status`; try again.',
  ),
  E_TIMEOUT: code(504, 5, true, 'An answer did not come in time.', 'See `millrace status`; try again.'),
  E_TOO_LARGE: code(413, 2, false, 'The input is larger than its limit.', 'Send less; the message names the limit.'),
  E_QUOTA: code(
    429,
    3,
    false,
    'More than one user may have of it at a time.',
    'Wait until some of it is done, or delete what is not wanted; the message names the limit.',
  ),
  E_DISK_FULL: code(507, 5, true, 'The disk is full.', 'Free some space; nothing was changed.'),
  E_READ_ONLY: code(
    507,
    5,
    true,
    'The disk or the folder cannot be written.',
    'Make it writable again; nothing was changed, and what was begun goes on by itself.',
  ),
  E_STORE: code(
    500,
    5,
    true,
    'The store refused to read or write.',
    'Check the disk and the permissions of the data folder.',
  ),
  // Identity
  E_AUTH: code(
    401,
    3,
    false,
    'The caller is not who the connection needs.',
    'Use a certificate of this installation for this role.',
  ),
  E_FORBIDDEN: code(
    403,
    3,
    false,
    'The signer may not do this.',
    'Sign with the key of the owner, holder or machine that may.',
  ),
  E_SIGNATURE: code(
    401,
    3,
    false,
    'A signature does not verify.',
    'Sign again with the right key; the content must not change after.',
  ),
  E_EXPIRED: code(
    401,
    3,
    false,
    'It was valid only until a moment that has passed.',
    'Sign or ask anew; check the clock.',
  ),
  E_CLOCK: code(401, 3, false, 'It is dated in the future.', 'Check the clocks of both sides.'),
  E_REPLAY: code(409, 3, false, 'This transaction was used already.', 'Sign a new one.'),
  E_SEAL: code(400, 6, false, 'A sealed message does not open.', 'It was altered, or sealed to another key.'),
  E_BOX_KEY: code(
    409,
    3,
    false,
    'It is sealed to a key that the node has erased since.',
    'Seal it anew: add the design again, or grant the licence again.',
  ),
  // Designs and vault
  E_DESIGN_EMPTY: code(400, 2, false, 'The design holds no bytes.', 'Give a file with content.'),
  E_SLICER: code(
    400,
    2,
    false,
    'The model could not be sliced: no slicer is installed, or the slicer refused.',
    'Install PrusaSlicer, correct the model or the profile, or slice it yourself and add the G-code.',
  ),
  E_SEGMENT: code(
    400,
    6,
    false,
    'A sealed segment does not match the signed manifest.',
    'Upload the segment again, unchanged.',
  ),
  E_UPLOAD: code(409, 6, true, 'The upload is incomplete.', 'Upload the missing segments; the message counts them.'),
  E_CELL_MISSING: code(
    500,
    6,
    false,
    'The vault lacks a cell that the playbook names.',
    'Run `millrace vault check`; repair from the offline copy.',
  ),
  E_CELL_DAMAGED: code(
    500,
    6,
    false,
    'A cell or playbook entry in the vault is damaged.',
    'Run `millrace vault check`; repair from the offline copy.',
  ),
  E_MODE_FIXED: code(
    409,
    3,
    false,
    'A key-homomorphic design keeps the mode it was uploaded with.',
    'Add the design again in the other mode, then delete this one.',
  ),
  E_DESIGN_DELETED: code(
    410,
    3,
    false,
    'The owner has deleted the design.',
    'Nothing can be made of it any more; ask the owner for another one.',
  ),
  E_QUARANTINE: code(
    503,
    6,
    false,
    'A node is older than what others remember of it, as after a restored backup.',
    'Put the newest data folder back, or follow docs/runbooks/recover.md.',
  ),
  E_BACKUP: code(
    400,
    6,
    false,
    'A backup does not open: altered, cut short, or its key has been destroyed.',
    'Use the newest backup with the key file that belongs to it.',
  ),
  // Licences and permits
  E_LICENCE_EXHAUSTED: code(
    403,
    3,
    false,
    'Every object of the licence has been permitted.',
    'Ask the owner for another licence, or for a credit if a print failed.',
  ),
  E_LICENCE_INVALID: code(
    403,
    3,
    false,
    'The licence does not cover this request.',
    'Use a machine, material and time that the licence names.',
  ),
  E_LICENCE_SUSPENDED: code(
    409,
    3,
    true,
    'A backup was restored without the counts of today: how many objects of the licence are left is not known.',
    'Its owner signs how many are left: `millrace licence resume LICENCE --left N`.',
  ),
  E_MATERIAL: code(
    403,
    3,
    false,
    'The loaded material is not one the licence allows.',
    'Load a material that the licence names.',
  ),
  E_MACHINE_UNKNOWN: code(
    403,
    3,
    false,
    'The machine is not registered, or not as it says.',
    'Register the machine; check its serial number and key.',
  ),
  E_PERMIT: code(403, 3, false, 'The permit is not valid here.', 'Call home for a permit of this machine and print.'),
  E_STATE: code(409, 3, false, 'The print is not in a state that allows this.', 'See `millrace object show`.'),
  E_ALARM: code(
    403,
    7,
    false,
    'The stream is in the alarm state: data flowed faster than the machine could use it.',
    'The owner decides; see `millrace object show`.',
  ),
  // Streaming live matrix
  E_FRAME_FORMAT: code(
    400,
    6,
    false,
    'A frame is not of the declared form or size.',
    'The sender or the link is faulty; the stream stops.',
  ),
  E_FRAME_MAC: code(
    400,
    6,
    false,
    'A frame was altered, or is of another session.',
    'The sender or the link is faulty; the stream stops.',
  ),
  E_FRAME_REVISION: code(
    400,
    6,
    false,
    'A frame is of a revision that has expired or is not yet known.',
    'Old frames cannot be used again; ask for the segment anew.',
  ),
  E_FRAME_REPLAY: code(400, 6, false, 'A frame was used already.', 'The link repeats frames; the stream stops.'),
  E_FRAME_UNSOLVED: code(
    400,
    6,
    true,
    'Hints of a frame have more or fewer solutions than one.',
    'It is asked for again in the next revision.',
  ),
  E_REVISION_MIX: code(
    409,
    3,
    true,
    'The next revision needs a fresh shared secret first.',
    'Both sides run the key exchange, mix its secret in and go on.',
  ),
  E_MEMORY: code(
    507,
    5,
    true,
    'There is not enough memory.',
    'Free some, or choose a smaller order; the message says how much is needed.',
  ),
  E_ENGINE: code(500, 5, false, 'A hash engine cannot run here.', 'Choose another engine, or leave the choice open.'),
  E_MEMORY_LOCK: code(
    500,
    5,
    false,
    'The system does not lock (more) memory for secrets; they lie in ordinary memory, and everything goes on.',
    'Raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK), and build the native engine.',
  ),
  E_STREAM_AUTH: code(
    401,
    3,
    false,
    'The other end does not have the same secret: another code or key.',
    'Compare the code or the fingerprint, and start both ends again.',
  ),
  E_STREAM_CUT: code(
    503,
    5,
    true,
    'The connection ended before the stream did; what came is not whole.',
    'Check the connection and start both ends again.',
  ),
  E_STREAM_STOPPED: code(
    409,
    5,
    true,
    'One end stopped the stream before its end; what came is not whole.',
    'See what the other end says; start both again.',
  ),
  // Ledger
  E_LEDGER_ENTRY: code(
    400,
    6,
    false,
    'A ledger entry does not follow the one before, or was changed.',
    'The ledger or the certificate was altered; compare with a witness.',
  ),
  E_LEDGER_TRUNCATED: code(
    400,
    6,
    false,
    'The ledger holds less than its checkpoint says.',
    'Restore the ledger from its newest copy.',
  ),
  E_LEDGER_CHECKPOINT: code(
    400,
    6,
    false,
    'A checkpoint is malformed, or not signed by the log.',
    'Use the log key of this installation.',
  ),
  E_LEDGER_PROOF: code(
    400,
    6,
    false,
    'A proof does not lead to the checkpoint.',
    'The certificate was altered; ask for a new one.',
  ),
  E_CERTIFICATE: code(400, 6, false, 'The certificate is malformed or incomplete.', 'Export it again from the ledger.'),
  E_EVIDENCE: code(
    400,
    6,
    false,
    'A signed document behind an event is missing, foreign, or says something else.',
    'Do not trust the object; ask its owner.',
  ),
  // Machine
  E_GCODE: code(
    400,
    2,
    false,
    'A line of the design cannot be executed.',
    'The message names the line; slice for this machine.',
  ),
  E_MACHINE: code(
    503,
    5,
    true,
    'The machine does not answer, or reports a fault.',
    'Check power, cable and the machine itself.',
  ),
  E_STARVED: code(
    503,
    5,
    true,
    'No data came for the machine in time.',
    'See `millrace status`; the print resumes by itself or fails with evidence.',
  ),
} as const satisfies Record<string, CodeMeaning>;

export type ErrorCode = keyof typeof errorCodes;
