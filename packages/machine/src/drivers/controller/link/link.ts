/** A connection to a controller that carries bytes: a serial port or a socket. */
export interface Link {
  /** Copies the bytes and writes them in order; the copy is wiped when it has left. */
  write(bytes: Uint8Array): void;
  /** Resets the controller by the port's DTR line, where there is one. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

export interface LinkEvents {
  /** Valid only during the call. */
  bytes(bytes: Uint8Array): void;
  /** The other end is gone. Called at most once, and not after `close`. */
  lost(): void;
}

export interface LinkOptions {
  /** Path of a serial device, or tcp://HOST:PORT. */
  readonly port: string;
  /** Ignored by sockets. */
  readonly baud: number;
}

/** @throws {MillraceError} E_MACHINE */
export type OpenLink = (options: LinkOptions, events: LinkEvents) => Promise<Link>;
