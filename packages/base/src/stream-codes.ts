import { type CodeMeaning, code } from './code-meaning.ts';

/** Coded errors of the streaming live matrix; a part of `errorCodes`. */
export const streamCodes = {
  E_FRAME_FORMAT: code(
    400,
    6,
    false,
    'A frame has the wrong format or size.',
    'The sender or the connection is faulty. The stream stops.',
  ),
  E_FRAME_MAC: code(
    400,
    6,
    false,
    'A frame was altered, or belongs to another session.',
    'The sender or the connection is faulty. The stream stops.',
  ),
  E_FRAME_REVISION: code(
    400,
    6,
    false,
    'The revision of a frame has expired or is not known yet.',
    'Old frames cannot be used again. Request the segment again.',
  ),
  E_FRAME_REPLAY: code(
    400,
    6,
    false,
    'A frame was received twice.',
    'The connection repeats frames. The stream stops.',
  ),
  E_FRAME_UNSOLVED: code(
    400,
    6,
    true,
    'The hints of a frame have no solution, or more than one.',
    'The receiver requests the frame again in the next revision.',
  ),
  E_REVISION_MIX: code(
    409,
    3,
    true,
    'The next revision needs a new shared secret.',
    'Both sides run the key exchange, mix its secret in and continue.',
  ),
  E_MEMORY: code(
    507,
    5,
    true,
    'There is not enough memory.',
    'Free memory, or choose a smaller order. The message says how much is needed.',
  ),
  E_ENGINE: code(
    500,
    5,
    false,
    'The hash engine cannot run on this system.',
    'Choose another engine, or set the engine to `auto`.',
  ),
  E_MEMORY_LOCK: code(
    500,
    5,
    false,
    'The system refused to lock memory for secrets. They are kept in ordinary memory.',
    'Raise the limit of locked memory (`ulimit -l`, LimitMEMLOCK), and build the native engine.',
  ),
  E_STREAM_AUTH: code(
    401,
    3,
    false,
    'The other end uses a different code or key.',
    'Compare the code or the fingerprint, then start both ends again.',
  ),
  E_STREAM_CUT: code(
    503,
    5,
    true,
    'The connection was lost before the end of the stream. The received data is incomplete.',
    'Check the connection and start both ends again.',
  ),
  E_STREAM_STOPPED: code(
    409,
    5,
    true,
    'One end stopped the stream. The received data is incomplete.',
    'Check the output of the other end, then start both ends again.',
  ),
} as const satisfies Record<string, CodeMeaning>;
